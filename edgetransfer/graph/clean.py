"""Brings any ONNX graph into the one form that the later stages take."""

from __future__ import annotations

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveInitializersFromInputsPass
from onnxscript import optimizer, rewriter
from onnxscript.rewriter.rules import common

from edgetransfer.errors import StageError
from edgetransfer.graph.finished import finished, inner_graphs, opset_of

MIN_OPSET = 18
MAX_OPSET = 20
_FOLDS = [
    common.normalize_pad_format_conv_rule,
    common.fuse_pad_into_conv_rule,
    common.fuse_batchnorm_into_conv_rule,
    common.fuse_batchnorm_into_gemm_rule,
    common.conv_affine_fusion_rule,
    common.affine_conv_fusion_rule,
]


def clean(model: onnx.ModelProto, *, ir_version: int = 10) -> onnx.ModelProto:
    """Fold constants, batch norms and padding, drop what is unused, and stamp the versions.

    Padding left in front of a convolution keeps it in float once it is quantised: with the
    TensorFlow-style padding of MobileNetV2 1 of 52 convolutions became int8. Weights that old files
    list among the inputs too are constants here: the runtime folds and quantises nothing that a
    caller could still replace. StageError of an operator set beyond 18 to 20, or of no valid ONNX.
    """
    model = to_supported_opset(model)
    graph = ir.from_proto(model)
    RemoveInitializersFromInputsPass()(graph)
    optimizer.optimize(graph)
    rewriter.rewrite(graph, pattern_rewrite_rules=_FOLDS)
    graph.ir_version = ir_version
    cleaned = finished(ir.to_proto(graph), "clean")
    for field in ("doc_string", "metadata_props"):
        cleaned.ClearField(field)
    for each in (cleaned.graph, *inner_graphs(cleaned.graph.node)):
        _forget_origins(each)
    return cleaned


def to_supported_opset(model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring a graph to an operator set that devices read; StageError where that cannot be."""
    found = opset_of(model)
    if MIN_OPSET <= found <= MAX_OPSET:
        return model
    if 0 < found < MIN_OPSET:
        try:
            return onnx.version_converter.convert_version(model, MIN_OPSET)
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            raise StageError(
                f"the graph cannot be brought from opset {found} to {MIN_OPSET}",
                where="clean",
                found=str(error).strip()[:300],
                fix=f"export the model again with opset_version={MAX_OPSET}",
            ) from error
    raise StageError(
        "an operator set that devices do not read",
        where="clean",
        found=f"opset {found}",
        expected=f"{MIN_OPSET} to {MAX_OPSET}",
        fix=f"export the model again with opset_version={MAX_OPSET}",
    )


def _forget_origins(graph: onnx.GraphProto) -> None:
    """Drop stack traces and paths of the exporting machine: they leak, and change every digest."""
    for part in [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    for node in graph.node:
        for attribute in node.attribute:
            attribute.ClearField("doc_string")
