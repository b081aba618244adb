"""What a loaded model is, and the one of ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Protocol, Tuple

if TYPE_CHECKING:
    import numpy as np

CPU = "CPUExecutionProvider"
_RECORD = "session.record_ep_graph_assignment_info"
Arrays = Mapping[str, "np.ndarray[Any, Any]"]


OLDEST = (1, 18)
"""Oldest ONNX Runtime that reads IR version 10, which our files have, and opset 20."""


class Unavailable(SystemExit):
    """This machine cannot do what was asked: the agent ends with one line on standard error."""


class Session(Protocol):
    """A loaded model, by whatever runtime.

    Attributes:
        input_names: in the order of the model.
        output_names: in the order that `run` returns them in.
        facts: what it runs on, for the report, where the machine's fingerprint does not say it.
        built_ms: went into making an engine, once on a device: no part of loading it.
    """

    input_names: List[str]
    output_names: List[str]
    facts: Mapping[str, object]
    built_ms: float

    def ports(self) -> Dict[str, List[Dict[str, Any]]]:
        """Return name, type and shape of every input and output, as the runtime tells them."""
        ...

    def run(self, inputs: Arrays) -> List[np.ndarray[Any, Any]]:
        """Return all outputs for one batch of inputs, by name."""
        ...


class OnnxSession:
    """A model loaded by ONNX Runtime.

    Args:
        model: path of the ONNX file, or its bytes.
        threads: threads inside one operator.
        config: ONNX Runtime session config entries.
        provider: execution provider by name.
        optimised_to: where the runtime writes the graph as it optimised it.
        fused: False to execute the graph as it is written.
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
            if _numbers(onnxruntime.__version__) < OLDEST:
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


def _numbers(version: str) -> Tuple[int, ...]:
    """Return the leading numbers of a version.

    >>> _numbers("1.16.3") < OLDEST, _numbers("1.18.0rc1") < OLDEST, _numbers("odd")
    (True, False, ())
    """
    found: List[int] = []
    for part in version.split(".")[:2]:
        if not part.isdigit():
            break
        found.append(int(part))
    return tuple(found)


def runtime_version() -> str:
    """Return the version of ONNX Runtime, or that there is none: TensorRT needs none."""
    try:
        import onnxruntime
    except ImportError:
        return "not installed"
    return str(onnxruntime.__version__)
