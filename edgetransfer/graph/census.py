"""Counts operators, parameters and multiply-accumulates, and what a runtime runs in int8.

The runtime's own graph says so, or what TensorRT's inspector tells of an engine.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.measure.proofs import IntendedPrecision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


_KINDS = (
    ("convolution", ("convolution", "correlation")),
    ("gemm", ("gemm", "matrix_multiply", "matrixmultiply")),
)
"""How versions call what multiplies by weights, by the layer's type."""
_FUSED = ("myelin", "kgen", "runtime_fusion", "foreignnode")
"""Types of layers that were made of several: what is inside, their names say."""
_INSIDE = (("convolution", re.compile("Conv(?!e)")), ("gemm", re.compile("Fc|Gemm|MatMul")))
_TYPES = (("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp8", "fp8"))


def read_residency(file: Path) -> Residency:
    """Read the file that the agent's job ``optimise`` left: ONNX, or an inspector's JSON."""
    content = file.read_bytes()
    if content.lstrip()[:1] == b"{":
        return engine_residency(json.loads(content))
    return residency(onnx.load_from_string(content))


def engine_residency(told: Mapping[str, Any]) -> Residency:
    """Count the convolutions of an engine by the type that they compute in.

    What the inspector told is ``{"Layers": [...]}``, each layer with its tensors' types (profiling
    verbosity ``DETAILED``); where names alone were kept, every layer counts as unknown.
    """
    convolutions = {True: 0, False: 0}
    floats: list[str] = []
    for layer in told["Layers"]:
        details = {"Name": layer} if isinstance(layer, str) else layer
        kind, computes = _kind(details), _type_of(details)
        if kind is None:
            continue
        if kind == "convolution":
            convolutions[computes == "int8"] += 1
        if computes != "int8":
            floats.append(f"{kind} {details.get('Name', '')} ({computes})")
    return Residency(convolutions[False], convolutions[True], tuple(floats))


def _kind(layer: Mapping[str, Any]) -> str | None:
    """Return what a layer multiplies by, None where it does not."""
    name = str(layer.get("Name", ""))
    words = f"{layer.get('ParameterType', '')} {layer.get('LayerType', '')}".lower()
    if not words.strip():
        return "layer"
    for kind, called in _KINDS:
        if any(each in words for each in called):
            return kind
    if any(each in words for each in _FUSED):
        return next((kind for kind, inside in _INSIDE if inside.search(name)), None)
    return None


def _type_of(layer: Mapping[str, Any]) -> str:
    """Return the type that a layer computes in, which is that of what it takes."""
    taken = next(iter(layer.get("Inputs", ())), None)
    if not isinstance(taken, dict):
        return "unknown"
    words = str(taken.get("Format/Datatype", taken.get("Datatype", ""))).lower()
    return next((name for word, name in _TYPES if word in words), "fp32")


_INTEGER = {"QLinearConv", "ConvInteger"}
_FLOAT_CONV = {"Conv", "FusedConv", "NhwcFusedConv"}
_FLOAT_COMPUTE = _FLOAT_CONV | {"MatMul", "Gemm", "FusedMatMul", "FusedGemm", "ConvTranspose"}


@dataclass(frozen=True)
class Residency:
    """Which heavy operators run in int8 after the runtime's own optimisation."""

    float_conv: int
    int8_conv: int
    float_ops: tuple[str, ...]


def intended(core: onnx.ModelProto) -> IntendedPrecision:
    """Look at a graph as it was written: a convolution between integers is meant to run in them."""
    makers = {name: node.op_type for node in core.graph.node for name in node.output}
    int8, floats = 0, []
    for node in core.graph.node:
        if node.op_type in _INTEGER:
            int8 += 1
        elif node.op_type in _FLOAT_CONV:
            if all(makers.get(name) == "DequantizeLinear" for name in node.input[:2]):
                int8 += 1
            else:
                floats.append(node.name or node.output[0])
    return IntendedPrecision(int8, tuple(floats))


def residency(optimised: onnx.ModelProto) -> Residency:
    """Look at the graph as the runtime wrote it back; every float operator is named."""
    kinds = Counter(node.op_type for node in optimised.graph.node)
    floats = [node for node in optimised.graph.node if node.op_type in _FLOAT_COMPUTE]
    return Residency(
        float_conv=sum(kinds[kind] for kind in _FLOAT_CONV),
        int8_conv=sum(kinds[kind] for kind in _INTEGER),
        float_ops=tuple(f"{node.op_type} {node.name or node.output[0]}" for node in floats),
    )


def parameters(model: onnx.ModelProto) -> int:
    """Return how many numbers the initializers hold."""
    return int(sum(np.prod(tensor.dims, dtype=np.int64) for tensor in model.graph.initializer))


def macs(model: onnx.ModelProto) -> int | None:
    """Return the multiply-accumulates of convolutions and matrix products for one example.

    None where a shape is not known, as that of a text of any length.
    """
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    shapes = {
        value.name: [
            size.dim_value or int(axis == 0)  # 0 stands for what is not known
            for axis, size in enumerate(value.type.tensor_type.shape.dim)
        ]
        for value in [*model.graph.input, *model.graph.value_info, *model.graph.output]
    }
    shapes |= {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    total = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        output, first, second = (
            shapes.get(name) for name in (node.output[0], node.input[0], node.input[1])
        )
        if not output or not first or not second or 0 in (*output, *first, *second):
            return None
        per_output = int(np.prod(second[1:])) if node.op_type == "Conv" else _inner(node, first)
        total += int(np.prod(output)) * per_output
    return total


def _inner(node: onnx.NodeProto, first: list[int]) -> int:
    transposed = any(each.name == "transA" and each.i for each in node.attribute)
    return first[0] if transposed else first[-1]
