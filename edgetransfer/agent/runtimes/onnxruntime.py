"""ONNX Runtime: opens a model, and says what there is of the runtime and which files it takes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Tuple

from edgetransfer.agent import machine
from edgetransfer.agent.runtimes import CPU, Arrays, Session, Tell, Unavailable, version_of
from edgetransfer.agent.system import ending, read_text
from edgetransfer.agent.timing import NULL_MODEL

if TYPE_CHECKING:
    import numpy as np


PROVIDERS: Dict[str, Tuple[str, ...]] = {}
"""None is known by its name alone: `build` asks it for those it has."""
_RECORD = "session.record_ep_graph_assignment_info"
OLDEST = (1, 18)
"""Oldest ONNX Runtime that reads IR version 10, which our files have, and opset 20."""


def open_session(variant: Mapping[str, Any], tell: Tell) -> Session:
    """Open the model of a variant."""
    return OnnxSession(
        variant["model"],
        threads=variant["threads"],
        config=variant["config"],
        provider=variant["provider"],
        optimised_to=variant.get("optimised_to"),
        fused=variant.get("fused", True),
    )


class OnnxSession:
    """A model, by its path or its bytes, loaded by ONNX Runtime.

    Threads are those inside one operator; the config has its session entries. It writes the graph
    as it optimised it to `optimised_to`, or executes it as it is written if not `fused`.
    """

    def __init__(
        self,
        model: object,
        *,
        threads: int = 1,
        config: Optional[Mapping[str, str]] = None,
        provider: str = CPU,
        optimised_to: Optional[str] = None,
        fused: bool = True,
    ) -> None:
        import onnxruntime

        self.built_ms = 0.0
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors come back as exceptions
        if provider != CPU:
            options.add_session_config_entry(_RECORD, "1")
        for key, value in (config or {}).items():
            options.add_session_config_entry(key, value)
        if not fused:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if optimised_to is not None:
            options.optimized_model_filepath = optimised_to
        source = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(source, options, providers=[provider])
        except Exception as error:  # the runtime raises kinds of its own
            if version_of(onnxruntime.__version__) < OLDEST:
                raise Unavailable(
                    "ONNX Runtime %s is too old for this bundle, which needs %d.%d or later: "
                    "python3 -m pip install -U onnxruntime (%s)"
                    % (onnxruntime.__version__, OLDEST[0], OLDEST[1], str(error)[:200])
                ) from error
            raise
        self.facts: Mapping[str, object] = {
            "provider": self._session.get_providers()[0],
            **({} if provider == CPU else {"nodes": self._nodes()}),
        }
        self.input_names: List[str] = [i.name for i in self._session.get_inputs()]
        self.output_names: List[str] = [o.name for o in self._session.get_outputs()]
        self.input_shapes: Dict[str, List[object]] = {
            i.name: list(i.shape) for i in self._session.get_inputs()
        }

    def _nodes(self) -> Optional[Dict[str, int]]:
        """Return how many operators each provider took; None where the runtime does not tell.

        A provider that was asked for may not be there, or may take no operator: the runtime then
        uses the CPU without an error.
        """
        ask = getattr(self._session, "get_provider_graph_assignment_info", None)
        if ask is None:
            return None
        nodes: Dict[str, int] = {}
        for part in ask():
            nodes[part.ep_name] = nodes.get(part.ep_name, 0) + len(part.get_nodes())
        return nodes

    def ports(self) -> Dict[str, List[Dict[str, Any]]]:
        """Return name, type and shape of every input and output, as the runtime tells them."""
        return {
            key: [{"name": p.name, "type": p.type, "shape": list(p.shape)} for p in found]
            for key, found in (
                ("inputs", self._session.get_inputs()),
                ("outputs", self._session.get_outputs()),
            )
        }

    def run(self, inputs: Arrays) -> List[np.ndarray[Any, Any]]:
        """Return all outputs for one batch of inputs, by name."""
        outputs: List[np.ndarray[Any, Any]] = self._session.run(None, inputs)
        return outputs


_LOADS_S = 120.0
"""Loading takes under a second, and a minute on a board with a slow card."""
_PROGRAM = "import sys; sys.path[:] = %r; import onnxruntime; print(onnxruntime.__version__)"


def try_import() -> Dict[str, object]:
    """Import the runtime in a child process: does it load, None where none starts, and why not."""
    if machine.emulator(read_text):  # where a child starts at all, it runs on the host
        return {"loads": None, "why": "no child process runs on an emulated processor"}
    if not sys.executable:
        return {"loads": None, "why": "no child process can be started: Python has no file here"}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM % (sys.path,)],
            capture_output=True,
            text=True,
            timeout=_LOADS_S,
            check=False,
            env={**os.environ, "ORT_DISABLE_TELEMETRY": "1"},
        )
    except OSError as error:
        return {"loads": None, "why": "no child process can be started: %s" % error.strerror}
    except subprocess.TimeoutExpired:
        return {"loads": False, "why": "import onnxruntime did not end in %g s" % _LOADS_S}
    if done.returncode == 0:
        return {"loads": True}
    if done.returncode < 0:
        return {"loads": False, "why": "import onnxruntime was %s" % ending(done.returncode)}
    last = (done.stderr.strip().splitlines() or [ending(done.returncode)])[-1]
    return {"loads": False, "why": "import onnxruntime failed: %s" % last}


def build() -> Dict[str, Any]:
    """Return the version of the runtime, the providers it has, and how it was built."""
    import onnxruntime

    info = getattr(onnxruntime, "get_build_info", lambda: None)()
    return {
        "runtime": "onnxruntime %s" % onnxruntime.__version__,
        "providers": list(onnxruntime.get_available_providers()),
        "build": info,
    }


IR_VERSION = 10
OPSET = 17
"""What a runtime is asked for first: every release since 1.17 takes both."""
_MOST = 40


def takes() -> Dict[str, int]:
    """Return the newest files that the runtime takes: they are tried."""
    return {
        "ir_version": newest(lambda version: identity(version, OPSET), IR_VERSION),
        "opset": newest(lambda version: identity(IR_VERSION, version), OPSET),
    }


def _loads(model: bytes) -> bool:
    try:
        OnnxSession(model)
    except (Exception, Unavailable):  # the runtime's errors have no common class
        return False
    return True


def newest(
    model: Callable[[int], bytes], start: int, taken: Callable[[bytes], bool] = _loads
) -> int:
    """Return the largest version whose model is taken, near to `start`; 0 if none is.

    >>> newest(lambda version: bytes([version]), 10, lambda model: model[0] <= 14)
    14
    >>> newest(lambda version: bytes([version]), 10, lambda model: model[0] <= 8)
    8
    """
    if not taken(model(start)):
        return next((older for older in range(start - 1, 0, -1) if taken(model(older))), 0)
    return next((last for last in range(start, _MOST) if not taken(model(last + 1))), _MOST)


def identity(ir_version: int, opset: int) -> bytes:
    """Return the null model in another file format and of another operator set, both below 128."""
    return NULL_MODEL[:1] + bytes([ir_version]) + NULL_MODEL[2:-1] + bytes([opset])
