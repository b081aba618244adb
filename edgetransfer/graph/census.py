"""Counts operators, parameters and multiply-accumulates, and what a runtime runs in int8."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from edgetransfer.measure.proofs import IntendedPrecision

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


def read_residency(file: Path) -> Residency:
    """Read how a runtime laid a model out (see `agent.runtimes`): ONNX, or its layers as JSON."""
    content = file.read_bytes()
    if content.lstrip()[:1] == b"{":
        return residency_of(json.loads(content)["layers"])
    return residency(onnx.load_from_string(content))


def residency_of(layers: Iterable[Mapping[str, str]]) -> Residency:
    """Count convolutions by the type that they compute in; all that is not in int8 is named."""
    found = list(layers)
    integer = [each["type"] == "int8" for each in found if each["kind"] == "convolution"]
    floats = [each for each in found if each["type"] != "int8"]
    return Residency(
        float_conv=len(integer) - sum(integer),
        int8_conv=sum(integer),
        float_ops=tuple(f"{each['kind']} {each['name']} ({each['type']})" for each in floats),
    )


def parameters(model: onnx.ModelProto) -> int:
    """Return how many numbers the initializers hold."""
    return int(sum(np.prod(tensor.dims, dtype=np.int64) for tensor in model.graph.initializer))


def macs(model: onnx.ModelProto) -> int | None:
    """Return the multiply-accumulates of one example; None where a shape is not known."""
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
        transposed = any(each.name == "transA" and each.i for each in node.attribute)
        inner = first[0] if transposed else first[-1]
        per_output = int(np.prod(second[1:])) if node.op_type == "Conv" else inner
        total += int(np.prod(output)) * per_output
    return total
