"""What a model is once a runtime has loaded it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Protocol

if TYPE_CHECKING:
    import numpy as np

CPU = "CPUExecutionProvider"
"""What ONNX Runtime calls the processor."""
Arrays = Mapping[str, "np.ndarray[Any, Any]"]
Tell = Callable[[str, int, int], object]
"""Told of a phase, the steps done and all of them, by what takes long: building an engine."""


class Unavailable(SystemExit):
    """This machine cannot do what was asked: the agent ends with one line on standard error."""


class Session(Protocol):
    """A loaded model, by whatever runtime.

    Attributes:
        input_names: in the order of the model.
        output_names: in the order that `run` returns them in.
        facts: what it runs on, for the report, where the machine's fingerprint does not say it:
            `provider` always, `runtime` (name and version) of all but ONNX Runtime.
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


def quiet(phase: str, done: int, total: int) -> None:
    """Tell nobody."""
