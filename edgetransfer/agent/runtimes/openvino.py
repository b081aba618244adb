"""OpenVINO on the processor: opens an ONNX file as it is, and reads its own execution graph."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Tuple

from edgetransfer.agent.runtimes import Arrays, Session, Tell, Unavailable

if TYPE_CHECKING:
    import numpy as np


PROVIDER = "OpenVINO"
PROVIDERS: Dict[str, Tuple[str, ...]] = {PROVIDER: ("openvino",)}
_KINDS = {"Convolution": "convolution", "FullyConnected": "gemm", "MatMul": "gemm"}
"""What multiplies by weights, as the execution graph calls it (`layerType`)."""
_TYPES = {"u8": "int8", "i8": "int8", "f32": "fp32", "f16": "fp16"}


def open_session(variant: Mapping[str, Any], tell: Tell) -> Session:
    """Open the model of a variant; `config` is for other runtimes, `fused` is always so here."""
    return OpenVinoSession(
        variant["model"],
        threads=variant["threads"],
        one=variant.get("batch", 1) == 1,
        optimised_to=variant.get("optimised_to"),
    )


def load() -> Any:  # noqa: ANN401 (a module whose types are not looked at)
    """Import OpenVINO, whose tools send data where the package `openvino_telemetry` is found.

    `Unavailable` is raised where it is not installed, or cannot be loaded.
    """
    # None there makes the import fail, so that OpenVINO takes its own empty stand-in.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise Unavailable(
            "OpenVINO cannot be loaded here (%s): python3 -m pip install openvino" % error
        ) from error
    return openvino


class OpenVinoSession:
    """A model compiled for the processor: one stream, as fast for one example as can be.

    What is not quantised runs in 32-bit floats: by itself OpenVINO takes bfloat16 where the
    processor has it (Core API, ``hint::inference_precision``). The model is a path or bytes of
    ONNX; `one` makes a free first axis 1 for good, as kernels of fixed shapes are faster;
    `optimised_to` gets the layers as they run. `Unavailable` without OpenVINO, or for a graph that
    it does not take.
    """

    def __init__(
        self,
        model: object,
        *,
        threads: int = 1,
        one: bool = True,
        optimised_to: Optional[str] = None,
    ) -> None:
        openvino = load()
        self.built_ms = 0.0
        self.facts: Mapping[str, object] = {
            "runtime": "openvino %s" % str(openvino.__version__).partition("-")[0],
            "build": str(openvino.__version__),
            "provider": PROVIDER,
        }
        config = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
            "ENABLE_CPU_PINNING": False,
        }
        core = openvino.Core()
        try:
            network = core.read_model(model if isinstance(model, bytes) else str(model))
            self._ports = {
                "inputs": [_port(each) for each in network.inputs],
                "outputs": [_port(each) for each in network.outputs],
            }
            if one:
                network.reshape({each: _of_one(each) for each in network.inputs})
            self._compiled = core.compile_model(network, "CPU", config)
        except RuntimeError as error:
            lines = [each.strip() for each in str(error).splitlines() if each.strip()]
            name = "the model" if isinstance(model, bytes) else model
            raise Unavailable("OpenVINO does not take %s: %s" % (name, lines[-1])) from error
        self.input_names: List[str] = [each["name"] for each in self._ports["inputs"]]
        self.output_names: List[str] = [each["name"] for each in self._ports["outputs"]]
        self._request = self._compiled.create_infer_request()
        if optimised_to is not None:
            told = json.dumps({"layers": list(layers(self._compiled.get_runtime_model()))})
            Path(optimised_to).write_text(told, encoding="utf-8")

    def ports(self) -> Dict[str, List[Dict[str, Any]]]:
        """Return name, type and shape of every input and output; None is a size of any batch."""
        return self._ports

    def run(self, inputs: Arrays) -> List[np.ndarray[Any, Any]]:
        """Return all outputs for one batch of inputs, by name."""
        found = self._request.infer(dict(inputs), share_inputs=True)
        return [found[each] for each in self._compiled.outputs]


def _port(port: Any) -> Dict[str, Any]:  # noqa: ANN401 (of a module without types)
    shape = [None if each.is_dynamic else each.get_length() for each in port.partial_shape]
    kind = str(port.element_type.to_dtype())
    return {"name": port.any_name, "type": kind, "shape": shape}


def _of_one(port: Any) -> Any:  # noqa: ANN401 (of a module without types)
    """Return the shape of an input for one example."""
    shape = port.partial_shape
    if len(shape) and shape[0].is_dynamic:
        shape[0] = 1
    return shape


def layers(graph: Any) -> Iterator[Dict[str, str]]:  # noqa: ANN401 (OpenVINO's model)
    """Yield what multiplies by weights in an execution graph, as `runtimes` describes it."""
    for node in graph.get_ordered_ops():
        told = {key: value.astype(str) for key, value in node.get_rt_info().items()}
        kind = _KINDS.get(told.get("layerType", ""))
        if kind is not None:
            computes = told.get("runtimePrecision", "unknown")
            names = told.get("originalLayersNames") or node.get_friendly_name()
            name = names.partition(",")[0].removesuffix("/WithoutBiases")
            yield {"kind": kind, "name": name, "type": _TYPES.get(computes, computes)}
