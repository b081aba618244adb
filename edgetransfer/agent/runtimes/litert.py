"""LiteRT on the processor, by its own interpreter: runs what `--also litert` wrote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Tuple

from edgetransfer.agent.runtimes import Arrays, Session, Tell, Unavailable

if TYPE_CHECKING:
    import numpy as np

PROVIDER = "LiteRT"
PROVIDERS: Dict[str, Tuple[str, ...]] = {PROVIDER: ("ai_edge_litert",)}
_PICTURES = 4
"""Axes of an input of pictures, whose channels are first everywhere else, and last here."""


def open_session(variant: Mapping[str, Any], tell: Tell) -> Session:
    """Open the model of a variant, a path; `config` and `fused` are for other runtimes."""
    return LiteRtSession(variant["model"], threads=variant["threads"])


class LiteRtSession:
    """A model with its delegate for the processor (XNNPACK), for one example at a time.

    `Unavailable` without LiteRT, or for a file that it does not take.
    """

    def __init__(self, model: str, *, threads: int = 1) -> None:
        try:
            import ai_edge_litert
            from ai_edge_litert.interpreter import Interpreter
        except (ImportError, OSError) as error:
            raise Unavailable(
                "LiteRT cannot be loaded here (%s): python3 -m pip install ai-edge-litert" % error
            ) from error
        self.built_ms = 0.0
        version = "litert %s" % getattr(ai_edge_litert, "__version__", "")
        self.facts: Mapping[str, object] = {"runtime": version.strip(), "provider": PROVIDER}
        try:
            self._interpreter = Interpreter(str(model), num_threads=threads)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise Unavailable("LiteRT does not take %s: %s" % (model, error)) from error
        self._given = self._interpreter.get_input_details()
        self._made = self._interpreter.get_output_details()
        self.input_names: List[str] = [each["name"] for each in self._given]
        self.output_names: List[str] = [each["name"] for each in self._made]

    def ports(self) -> Dict[str, List[Dict[str, Any]]]:
        """Return name, type and shape of every input and output, as the interpreter has them."""
        return {
            "inputs": [_port(e) for e in self._given],
            "outputs": [_port(e) for e in self._made],
        }

    def run(self, inputs: Arrays) -> List[np.ndarray[Any, Any]]:
        """Return all outputs for one batch of inputs, by name."""
        for port, array in zip(self._given, inputs.values()):
            channels_last = array.transpose(0, 2, 3, 1) if array.ndim == _PICTURES else array
            self._interpreter.set_tensor(port["index"], channels_last)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(each["index"]) for each in self._made]


def _port(told: Mapping[str, Any]) -> Dict[str, Any]:
    shape = [int(each) for each in told["shape"]]
    return {"name": told["name"], "type": told["dtype"].__name__, "shape": shape}
