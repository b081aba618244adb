"""Leaves a graph as it may be written to a file: nothing dead, nothing said that is not so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import onnx
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgetransfer.errors import NumericalError, first_line

STANDARD = ("", "ai.onnx")
"""Names of the standard operator set: the only one that every device's runtime has."""


def finished(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """Return the graph without unused nodes and constants, checked, its ``value_info`` anew.

    What a file says of the values between its nodes goes stale with every rewrite: at best runtimes
    warn at every load, at worst the next rewrite meets types that are not so. Left out, ONNX
    Runtime fuses less: of BERT no SkipLayerNormalization. So it is inferred from the nodes, and of
    what was said before sizes are kept that inference does not find and does not contradict. Nodes
    are in the order they run; the model stays as it is. The NumericalError of a graph that is not
    valid ONNX names `where`, the stage that made it.
    """
    graph = ir.from_proto(model)
    RemoveUnusedNodesPass()(graph)
    proto = ir.to_proto(graph)
    said = {each.name: each.type.tensor_type.shape for each in proto.graph.value_info}
    for part in (proto.graph, *inner_graphs(proto.graph.node), *proto.functions):
        del part.value_info[:]
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise NumericalError(
            "the graph is not valid ONNX", where=where, found=first_line(error)[:300]
        ) from error
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph.value_info
    proto.graph.value_info.extend(_completed(each, said) for each in inferred)
    return proto


def inner_graphs(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """Yield the graphs within nodes, however deep: branches, the bodies of loops."""
    for attribute in (each for node in nodes for each in node.attribute):
        for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
            yield graph
            yield from inner_graphs(graph.node)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model imports, 0 for none."""
    return max((o.version for o in model.opset_import if o.domain in STANDARD), default=0)


def _completed(
    value: onnx.ValueInfoProto, said: Mapping[str, onnx.TensorShapeProto]
) -> onnx.ValueInfoProto:
    """Put the sizes that were known before in the place of those that inference does not find."""
    before, found = said.get(value.name), value.type.tensor_type.shape.dim
    if before is None or len(before.dim) != len(found):
        return value
    pairs = [(old, new) for old, new in zip(before.dim, found, strict=True) if old.ByteSize()]
    known = [(old.dim_value, new.dim_value) for old, new in pairs]
    if all(old == new for old, new in known if old and new):
        for old, new in pairs:
            if not new.dim_value:
                new.CopyFrom(old)
    return value
