"""Gives every layer weights and a bias of its own: each will have its own codes.

It does not change what a graph computes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgetransfer.compress.layout import LAYERS, added, array_of, axis_of


def separate(graph: ir.Graph) -> None:
    """Copy what layers share, and give those without a bias one of zeros, in place.

    A Gemm's bias may be one number for all channels; here it gets one for each.
    """
    for node in graph:
        weight = node.inputs[1] if node.op_type in LAYERS else None
        if weight is None or not weight.is_initializer():
            continue
        if len(weight.uses()) > 1:
            weight = _constant(graph, f"{weight.name}_{node.name}", array_of(weight))
            node.replace_input_with(1, weight)
        if node.op_type == "MatMul":
            _own_sum(graph, node)
        else:
            _own_bias(graph, node, array_of(weight).shape[axis_of(node)])


def _own_sum(graph: ir.Graph, product: ir.Node) -> None:
    bias, total = added(product)
    adding = total.producer()
    if bias is not None and adding is not None and len(bias.uses()) > 1:
        place = list(adding.inputs).index(bias)
        name = f"{bias.name}_{product.name}"
        adding.replace_input_with(place, _constant(graph, name, array_of(bias)))


def _own_bias(graph: ir.Graph, node: ir.Node, channels: int) -> None:
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    if bias is None:
        node.resize_inputs(3)
        numbers = np.zeros(channels, dtype=np.float32)
    elif not bias.is_initializer():
        return
    else:
        numbers = np.broadcast_to(array_of(bias).reshape(-1), channels)
        if len(bias.uses()) == 1 and array_of(bias).shape == numbers.shape:
            return
    name = f"{node.outputs[0].name}_bias"
    node.replace_input_with(2, _constant(graph, name, np.ascontiguousarray(numbers)))


def _constant(graph: ir.Graph, name: str, array: np.ndarray[Any, Any]) -> ir.Value:
    value = ir.Value(
        name=name,
        type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        shape=ir.Shape(array.shape),
        const_value=ir.tensor(array, name=name),
    )
    graph.register_initializer(value)
    return value
