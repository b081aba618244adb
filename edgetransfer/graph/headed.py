"""Puts a linear head on the graph of a frozen backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgetransfer.graph.finished import finished

if TYPE_CHECKING:
    from numpy.typing import NDArray


def with_head(
    features: onnx.ModelProto, weight: NDArray[Any], bias: NDArray[Any], output: str
) -> onnx.ModelProto:
    """Return a graph that gives ``features @ weight.T + bias`` under the name `output`.

    The graph gives features float32 [N, D]; the weight is float32 [C, D], the bias float32 [C].

    Raises:
        NumericalError: that is no valid graph.
    """
    graph = onnx.ModelProto()
    graph.CopyFrom(features)
    (given,) = graph.graph.output
    name = _free(graph, "head")
    names = [given.name, f"{name}.weight", f"{name}.bias"]
    for called, array in zip(names[1:], (weight, bias), strict=True):
        number = numpy_helper.from_array(np.ascontiguousarray(array, np.float32), called)
        graph.graph.initializer.append(number)
    graph.graph.node.append(helper.make_node("Gemm", names, [output], name=name, transB=1))
    first = given.type.tensor_type.shape.dim[0]
    graph.graph.value_info.append(given)
    given.CopyFrom(
        helper.make_tensor_value_info(
            output, onnx.TensorProto.FLOAT, [first.dim_param or first.dim_value, len(weight)]
        )
    )
    return finished(graph, "trace")


def _free(graph: onnx.ModelProto, name: str) -> str:
    """Return a name that no node and no tensor begins with."""
    parts = graph.graph
    taken = {each.name for each in (*parts.node, *parts.initializer, *parts.input)}
    taken |= {output for node in parts.node for output in node.output}
    while any(each.startswith(name) for each in taken):
        name += "_"
    return name
