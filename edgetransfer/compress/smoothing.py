"""Moves large channels of activations into weights, so that one scale a tensor serves both.

It does not quantise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgetransfer.agent.session import OnnxSession

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Array = np.ndarray[Any, Any]

BALANCE = 0.5
"""How much of the difficulty goes to the weights; the paper's."""


def smooth(model: onnx.ModelProto, batches: Iterable[Mapping[str, Array]]) -> onnx.ModelProto:
    """Divide the inputs of matrix products by channel, and multiply the weights' rows (SmoothQuant).

    ``s = max|x| ** 0.5 / max|W| ** 0.5`` a channel (Xiao et al. 2023, equation 4), largest values
    over the examples. The paper folds the division into the norm before it. In a network that norms
    *after* its sums the norm feeds the residual branch too, so it is a `Mul` of its own here; those
    that read one tensor share it.

    Args:
        model: float.
        batches: example inputs by name.
    """
    readers = _readers(model)
    largest = _largest(model, list(readers), batches)
    smoothed = onnx.ModelProto()
    smoothed.CopyFrom(model)
    graph = smoothed.graph
    weights = {each.name: each for each in graph.initializer}
    for index, name in enumerate(readers):
        nodes = [node for node in graph.node if _reads(node, name, weights)]
        held = [numpy_helper.to_array(weights[node.input[1]]) for node in nodes]
        rows = np.max([np.abs(each).max(axis=1) for each in held], axis=0)
        scale = _scale(largest[name], rows)
        inverse, divided = f"smooth/{index}", f"smooth/{index}/out"
        graph.initializer.append(numpy_helper.from_array(1 / scale, inverse))
        for number, (node, weight) in enumerate(zip(nodes, held, strict=True)):
            scaled = f"smooth/{index}/weight/{number}"
            graph.initializer.append(numpy_helper.from_array(weight * scale[:, None], scaled))
            node.input[:] = [divided, scaled]
        first = next(i for i, node in enumerate(graph.node) if divided in node.input)
        graph.node.insert(first, helper.make_node("Mul", [name, inverse], [divided]))
    _drop_unread(graph)
    return smoothed


def _scale(largest: Array, rows: Array) -> Array:
    """Return what a channel is divided by; 1 where nothing is known of it."""
    known = (largest > 0) & (rows > 0)
    safe = np.where(known, largest, 1.0) ** BALANCE / np.where(known, rows, 1.0) ** (1 - BALANCE)
    return np.where(known, safe, 1.0).astype(np.float32)


def _reads(node: onnx.NodeProto, name: str, weights: Mapping[str, onnx.TensorProto]) -> bool:
    """Tell whether a node multiplies that tensor by a constant matrix."""
    return (
        node.op_type == "MatMul"
        and node.input[0] == name
        and node.input[1] in weights
        and len(weights[node.input[1]].dims) == 2
    )


def _readers(model: onnx.ModelProto) -> dict[str, None]:
    """Return the tensors that constant matrices are multiplied with, in the order of the graph."""
    weights = {each.name: each for each in model.graph.initializer}
    return {
        node.input[0]: None
        for node in model.graph.node
        if node.op_type == "MatMul" and _reads(node, node.input[0], weights)
    }


def _largest(
    model: onnx.ModelProto, names: list[str], batches: Iterable[Mapping[str, Array]]
) -> dict[str, Array]:
    """Return the largest absolute value of every channel of some tensors over the examples."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    del opened.graph.output[:]
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = OnnxSession(opened.SerializeToString())
    found: dict[str, Array] = {}
    for batch in batches:
        for name, value in zip(names, session.run(dict(batch)), strict=True):
            largest = np.abs(value).reshape(-1, value.shape[-1]).max(axis=0)
            found[name] = np.maximum(found.get(name, largest), largest)
    return found


def _drop_unread(graph: onnx.GraphProto) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
