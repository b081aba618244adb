"""Where graphs are quantised: at what convolutions give and what layers take, and nowhere else."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import helper

from edgetransfer.compress.layout import behind_clip, clip_bounds, find_layout
from edgetransfer.compress.posttraining import separate

RNG = np.random.default_rng(0)


def floats(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


@pytest.fixture
def squeezed(build, opened):
    """A convolution, and a squeeze-and-excite block with HardSigmoid and Mul."""
    nodes = [
        node("Conv", "input w0 b0", "stem"),
        node("Relu", "stem", "stem.a"),
        node("GlobalAveragePool", "stem.a", "pooled"),
        node("Conv", "pooled w1 b1", "down"),
        node("Relu", "down", "down.a"),
        node("Conv", "down.a w2 b2", "up"),
        node("HardSigmoid", "up", "gate", alpha=1 / 6),
        node("Mul", "stem.a gate", "scaled"),
        node("Conv", "scaled w3 b3", "last"),
        node("GlobalAveragePool", "last", "mean"),
        node("Flatten", "mean", "logits"),
    ]
    shapes = {"0": (8, 3, 3, 3), "1": (2, 8, 1, 1), "2": (8, 2, 1, 1), "3": (4, 8, 1, 1)}
    constants = {f"w{k}": floats(*shape) for k, shape in shapes.items()}
    constants |= {f"b{k}": floats(shape[0]) for k, shape in shapes.items()}
    return opened(build(nodes, constants, ["batch", 3, 8, 8]))


def test_a_residual_block(network, opened):
    _, layout = opened(network)
    assert [each.name for each in layout.layers] == [
        "stem.w", "expand.w", "depthwise.w", "project.w", "head.w",
    ]  # fmt: skip
    assert [each.output.name for each in layout.layers] == [
        "stem.a", "expand.a", "depthwise.a", "project", "logits",
    ]  # fmt: skip
    assert layout.points == ("input", "stem.a", "expand.a", "depthwise.a", "project", "features")
    assert layout.roots() == layout.points
    assert layout.shares == {}


def test_an_addition_that_leads_to_a_convolution_is_of_integers(build, opened):
    nodes = [
        node("Conv", "input w0 b0", "stem"),
        node("Conv", "stem w1 b1", "branch"),
        node("Add", "stem branch", "sum"),
        node("Relu", "sum", "sum.a"),
        node("Conv", "sum.a w2 b2", "logits"),
    ]
    constants = {f"w{k}": floats(3, 3, 1, 1) for k in range(3)}
    constants |= {f"b{k}": floats(3) for k in range(3)}
    _, layout = opened(build(nodes, constants, ["batch", 3, 8, 8], ("batch", 3, 8, 8)))
    assert layout.points == ("input", "stem", "branch", "sum.a", "logits")


def test_squeeze_and_excite(squeezed):
    _, layout = squeezed
    points = ("input", "stem.a", "pooled", "down.a", "up", "gate", "scaled", "last")
    assert layout.points == points


def test_what_passes_integers_on_shares_their_grid(build, opened):
    nodes = [
        node("Conv", "input w0 b0", "stem"),
        node("Relu", "stem", "stem.a"),
        node("MaxPool", "stem.a", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Flatten", "pooled", "flat"),
        node("Gemm", "flat w1 b1", "logits", transB=1),
    ]
    constants = {"w0": floats(2, 3, 1, 1), "b0": floats(2), "w1": floats(4, 32), "b1": floats(4)}
    _, layout = opened(build(nodes, constants, ["batch", 3, 8, 8]))
    assert layout.points == ("input", "stem.a", "pooled", "flat")
    assert layout.shares == {"pooled": "stem.a", "flat": "pooled"}
    assert layout.roots() == ("input", "stem.a")
    assert [layout.root(each) for each in layout.points] == ["input", *["stem.a"] * 3]


def test_perceptron(build, opened):
    nodes = [
        node("Gemm", "input w0 b0", "hidden", transB=1),
        node("Relu", "hidden", "hidden.a"),
        node("Gemm", "hidden.a w1 b1", "logits"),
    ]
    constants = {"w0": floats(8, 5), "b0": floats(8), "w1": floats(8, 4), "b1": floats(4)}
    _, layout = opened(build(nodes, constants, ["batch", 5]))
    assert layout.points == ("input", "hidden.a")
    assert [each.axis for each in layout.layers] == [0, 1]
    assert [each.weights().shape for each in layout.layers] == [(8, 5), (4, 8)]


def test_matrix_products_of_a_transformer(build, opened):
    nodes = [
        node("LayerNormalization", "input scale shift", "normed"),
        node("MatMul", "normed w0", "product"),
        node("Add", "b0 product", "hidden"),
        node("Gelu", "hidden", "active"),
        node("MatMul", "active w1", "second"),
        node("Add", "second b1", "out"),
        node("Add", "input out", "residual"),
        node("MatMul", "residual w2", "third"),
        node("ReduceMean", "third tokens", "logits", keepdims=0),
    ]
    constants = {"w0": floats(6, 12), "b0": floats(12), "w1": floats(12, 6), "b1": floats(6)}
    constants |= {"w2": floats(6, 4), "scale": floats(6), "shift": floats(6)}
    constants["tokens"] = np.array([1])
    _, layout = opened(build(nodes, constants, ["batch", 7, 6]))
    assert layout.points == ("normed", "active", "residual")
    first, second, third = layout.layers
    assert (first.bias.name, first.sum.name, first.axis) == ("b0", "hidden", 1)
    assert (second.bias.name, second.sum.name) == ("b1", "out")
    assert (third.bias, third.sum.name) == (None, "third")


def test_products_of_two_activations_are_no_layers(build, opened):
    nodes = [
        node("Transpose", "input", "turned", perm=[0, 2, 1]),
        node("MatMul", "input turned", "logits"),
    ]
    _, layout = opened(build(nodes, {}, ["batch", 4, 4], ("batch", 4, 4)))
    assert (layout.layers, layout.points) == ((), ())


def test_layers_in_float_are_left_out(network, opened):
    found, _ = opened(network)
    layout = find_layout(found.graph, {"stem.w", "head.w"})
    assert [each.name for each in layout.layers] == ["expand.w", "depthwise.w", "project.w"]
    assert layout.points == ("stem.a", "expand.a", "depthwise.a", "project")


def shared(build):
    nodes = [
        node("Conv", "input w b", "first"),
        node("Conv", "first w b", "second"),
        node("Conv", "second w", "third"),
        node("Flatten", "third", "flat"),
        node("MatMul", "flat m", "logits"),
    ]
    constants = {"w": floats(3, 3, 1, 1), "b": floats(3), "m": floats(12, 4)}
    return build(nodes, constants, ["batch", 3, 2, 2])


def test_every_layer_gets_weights_and_a_bias_of_its_own(build, run):
    model = shared(build)
    found = ir.from_proto(model)
    separate(found.graph)
    layers = find_layout(found.graph).layers
    assert len({each.name for each in layers}) == 4
    assert len({each.bias.name for each in layers[:3]}) == 3
    assert layers[3].bias is None
    assert all(len(each.weight.uses()) == 1 for each in layers)
    assert (layers[2].bias.const_value.numpy() == np.zeros(3)).all()
    pictures = floats(2, 3, 2, 2)
    wanted, got = run(model, input=pictures), run(ir.to_proto(found), input=pictures)
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_a_bias_that_several_additions_share_is_separated_too(build):
    nodes = [
        node("MatMul", "input w0", "first"),
        node("Add", "first b", "first.b"),
        node("MatMul", "first.b w1", "second"),
        node("Add", "second b", "logits"),
    ]
    constants = {"w0": floats(4, 4), "w1": floats(4, 4), "b": floats(4)}
    found = ir.from_proto(build(nodes, constants, ["batch", 4]))
    separate(found.graph)
    layers = find_layout(found.graph).layers
    assert len({each.bias.name for each in layers}) == 2


@pytest.mark.parametrize(
    ("kind", "bounds", "expected"),
    [
        ("Relu", "", (0.0, np.inf)),
        ("Clip", "zero six", (0.0, 6.0)),
        ("Clip", "zero", (0.0, np.inf)),
        ("Tanh", "", (-np.inf, np.inf)),
    ],
)
def test_bounds_of_activations(build, kind, bounds, expected):
    nodes = [node(kind, f"input {bounds}", "logits")]
    constants = {"zero": np.float32(0), "six": np.float32(6)}
    graph = ir.from_proto(build(nodes, constants, ["batch", 4])).graph
    assert clip_bounds(graph.outputs[0]) == expected
    taken = graph.outputs[0] if kind in ("Relu", "Clip") else graph.inputs[0]
    assert behind_clip(graph.inputs[0]) is taken
