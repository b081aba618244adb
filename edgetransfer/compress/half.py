"""Stores a float graph in 16-bit floats, and keeps in 32 what 16 bits would spoil."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.graph.finished import finished

Array = np.ndarray[Any, Any]
SENSITIVE = (
    *("GroupNormalization", "InstanceNormalization", "LayerNormalization", "LogSoftmax"),
    *("LpNormalization", "Pow", "ReduceL2", "ReduceMean", "ReduceSum", "Softmax"),
)
"""Sum many numbers or their squares: kept in 32 bits, as `torch.autocast` keeps them."""
LARGEST = float(np.finfo(np.float16).max) / 2
"""Half of the largest 16-bit float: examples yet unseen may go further."""


def to_half(
    model: onnx.ModelProto, examples: Iterable[Mapping[str, Array]] = ()
) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """Return the graph with weights and activations in float16, inputs and outputs in float32.

    Norms, softmaxes and means stay in 32 bits, and so does every node that on the examples takes or
    gives a number beyond `LARGEST`, or holds such a weight. The model is clean and float, examples
    are batches of prepared inputs. Returned too are the names of nodes kept for their range.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    copy = finished(model, "16-bit floats")  # the converter believes what a file says of types
    wide = _wide_nodes(copy, _extremes(copy, examples))
    graph = ir.from_proto(
        convert_float_to_float16(
            copy,
            keep_io_types=True,
            op_block_list=[*DEFAULT_OP_BLOCK_LIST, *SENSITIVE],
            node_block_list=list(wide),
        )
    )
    _join_wide(graph)
    graph.graph.sort()  # the converter appends its casts behind the nodes that need them
    graph.ir_version = model.ir_version
    graph.producer_name = "edgetransfer"
    return finished(ir.to_proto(graph), "16-bit floats"), wide


def _join_wide(model: ir.Model) -> None:
    """Let nodes kept in 32 bits hand on 32 bits: a cast to 16 and back between them overflows."""
    for node in model.graph:
        source = node.inputs[0] if node.op_type == "Cast" else None
        before = None if source is None else source.producer()
        if before is None or before.op_type != "Cast":
            continue
        kinds = [each.attributes["to"].as_int() for each in (before, node)]
        if kinds == [ir.DataType.FLOAT16, ir.DataType.FLOAT] and before.inputs[0] is not None:
            node.replace_input_with(0, before.inputs[0])


def _extremes(model: onnx.ModelProto, examples: Iterable[Mapping[str, Array]]) -> dict[str, float]:
    """Return the largest size of every float tensor on the examples, and of every weight."""
    largest = {
        tensor.name: _size(onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer
    }
    watched = onnx.ModelProto()
    watched.CopyFrom(onnx.shape_inference.infer_shapes(model))
    given = {each.name for each in watched.graph.output}
    watched.graph.output.extend(
        each
        for each in watched.graph.value_info
        if each.name not in given and each.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    )
    session = None
    for batch in examples:
        session = session or OnnxSession(watched.SerializeToString())
        for name, array in zip(session.output_names, session.run(batch), strict=True):
            largest[name] = max(largest.get(name, 0.0), _size(array))
    return largest


def _size(array: Array) -> float:
    """Return the largest absolute value; NaN counts as without bound."""
    if array.size == 0 or array.dtype.kind != "f":
        return 0.0
    return float(np.nan_to_num(np.abs(array).max(), nan=np.inf))


def _wide_nodes(model: onnx.ModelProto, largest: Mapping[str, float]) -> tuple[str, ...]:
    """Name all nodes, and return those that 16 bits cannot hold."""
    for place, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{place}"
    return tuple(
        node.name
        for node in model.graph.node
        if any(largest.get(name, 0.0) > LARGEST for name in (*node.input, *node.output))
    )
