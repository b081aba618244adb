"""Stores a float graph in 16-bit floats.

It does not keep sensitive operators in 32 bits: the compression issue will.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with weights and activations in float16, inputs and outputs in float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = ir.from_proto(convert_float_to_float16(copy, keep_io_types=True))
    graph.graph.sort()  # the converter appends its casts behind the nodes that need them
    half = ir.to_proto(graph)
    half.ir_version = model.ir_version
    half.producer_name = "edgetransfer"
    onnx.checker.check_model(half, full_check=True)
    return half
