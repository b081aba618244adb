"""Runs one ONNX file with ONNX Runtime: the only place where a session is made.

It does not choose threads, providers or options: the caller says them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np

Arrays = Mapping[str, "np.ndarray[Any, Any]"]


class OnnxSession:
    """A loaded model.

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
        provider: str = "CPUExecutionProvider",
        optimised_to: Optional[str] = None,
        fused: bool = True,
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors come back as exceptions
        for key, value in (config or {}).items():
            options.add_session_config_entry(key, value)
        if not fused:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if optimised_to is not None:
            options.optimized_model_filepath = optimised_to
        source = model if isinstance(model, bytes) else str(model)
        self._session = onnxruntime.InferenceSession(source, options, providers=[provider])
        self.input_names: List[str] = [i.name for i in self._session.get_inputs()]
        self.output_names: List[str] = [o.name for o in self._session.get_outputs()]
        self.input_shapes: Dict[str, List[object]] = {
            i.name: list(i.shape) for i in self._session.get_inputs()
        }

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


def runtime_version() -> str:
    """Return the version of ONNX Runtime that is installed."""
    import onnxruntime

    return str(onnxruntime.__version__)
