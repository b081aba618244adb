"""A linear head on a graph of features."""

import numpy as np
import onnx
from onnx import helper

from edgetransfer.graph.embed import with_head

RNG = np.random.default_rng(0)


def features(name="relu"):
    node = helper.make_node("Relu", ["input"], ["features"], name=name)
    ends = [
        helper.make_tensor_value_info(each, onnx.TensorProto.FLOAT, ["batch", 4])
        for each in ("input", "features")
    ]
    graph = helper.make_graph([node], "features", ends[:1], ends[1:])
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def test_it_gives_what_the_layer_gives(run):
    graph = features()
    weight, bias = RNG.normal(size=(3, 4)).astype("f"), RNG.normal(size=3).astype("f")
    made = with_head(graph, weight, bias, "logits")
    x = RNG.normal(size=(5, 4)).astype("f")
    np.testing.assert_allclose(
        run(made, input=x)[0], np.maximum(x, 0) @ weight.T + bias, rtol=1e-5, atol=1e-6
    )
    (output,) = made.graph.output
    assert output.name == "logits"
    sizes = output.type.tensor_type.shape.dim
    assert [sizes[0].dim_param, sizes[1].dim_value] == ["batch", 3]
    assert [each.name for each in graph.graph.output] == ["features"]


def test_names_that_are_taken_are_left_alone(run):
    graph = features("head")
    made = with_head(graph, np.eye(4, dtype="f"), np.zeros(4, "f"), "logits")
    onnx.checker.check_model(made)
    assert len({node.name for node in made.graph.node}) == 2
    assert run(made, input=np.ones((1, 4), "f"))[0].tolist() == [[1.0] * 4]
