"""Proves that a graph is one that TensorRT takes strongly typed, before it is shipped.

It does not build an engine: the agent does, on the device. What the graph must be like was found
by building with TensorRT's own parser (`docs/tensorrt.md`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from edgetransfer.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray[Any, Any]

STANDARD = ("", "ai.onnx")
MAX_OPSET = 20
_SHOWN = 5


def refuse_unfit(model: onnx.ModelProto) -> None:
    """Refuse a graph that TensorRT would not parse, or would run slower than it says.

    Raises:
        StageError: with the nodes and what is wrong with them.
    """
    found = list(_faults(model))
    if found:
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise StageError(
            "the graph is not one that TensorRT takes",
            where="export",
            found="; ".join(found[:_SHOWN]) + more,
            expected="standard operators up to opset 20, int8 with zero points of zero, biases in "
            "float, and sums of integers alone",
            fix="build with --precision fp16",
        )


def _faults(model: onnx.ModelProto) -> Iterator[str]:
    opset = max((o.version for o in model.opset_import if o.domain in STANDARD), default=0)
    if opset > MAX_OPSET:
        yield f"opset {opset}"
    constants = {each.name: each for each in model.graph.initializer}
    producers = {name: node for node in model.graph.node for name in node.output}
    takers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            takers.setdefault(name, []).append(node)
    for node in model.graph.node:
        told = f"{node.op_type} {node.name or node.output[0]}"
        if node.domain not in STANDARD:
            yield f"{told} of {node.domain}"
        elif node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            yield from (f"{told} {fault}" for fault in _faulty_grid(node, constants))
        elif node.op_type == "Add" and _is_quantised_unevenly(node, producers, takers, constants):
            yield f"{told} adds integers to floats"


def _faulty_grid(node: onnx.NodeProto, constants: dict[str, onnx.TensorProto]) -> Iterator[str]:
    """Say what is wrong with the numbers of a Q or DQ."""
    zero = constants.get(node.input[2]) if len(node.input) > 2 else None
    if zero is None:
        yield "has no zero point that says its type"
    elif zero.data_type != onnx.TensorProto.INT8:
        yield f"is in {onnx.TensorProto.DataType.Name(zero.data_type).lower()}"
    elif numpy_helper.to_array(zero).any():
        yield "has a zero point that is not zero"
    scale = constants.get(node.input[1])
    if scale is None or not (numpy_helper.to_array(scale) > 0).all():
        yield "has a scale that is not above zero"


def _is_quantised_unevenly(
    node: onnx.NodeProto,
    producers: dict[str, onnx.NodeProto],
    takers: dict[str, list[onnx.NodeProto]],
    constants: dict[str, onnx.TensorProto],
) -> bool:
    """Tell whether a sum takes an integer and a float, and gives an integer: it would not fuse."""
    gives = any(each.op_type == "QuantizeLinear" for each in takers.get(node.output[0], ()))
    moving = [name for name in node.input if name not in constants]
    integers = [
        name in producers and producers[name].op_type == "DequantizeLinear" for name in moving
    ]
    return gives and any(integers) and not all(integers)
