"""What is hard to quantise moves from activations into weights; the floats stay the same."""

from collections import Counter
from functools import partial

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.compress.weights import (
    SHARES,
    largest,
    quantise_weights,
    smooth,
    smoothed,
)
from edgetransfer.graph.hosted import open_here
from edgetransfer.measure.drift import sqnr_db
from edgetransfer.spec.target import Int8Scheme

WIDTH = 32
QUANTISE = partial(quantise_weights, scheme=Int8Scheme())


def encoder(shared="again"):
    """x [N, T, 32], times a gain that makes two channels loud -> two products, a sum, one more.

    The last product takes the weights `shared`: its own or those of the first.
    """
    rng = np.random.default_rng(0)
    gain = np.ones(WIDTH, np.float32)
    gain[:2] = 60.0
    arrays = {"gain": gain}
    for name in ("one", "two", "again", "head"):
        arrays[name] = rng.normal(size=(WIDTH, WIDTH)).astype(np.float32)
        arrays[name][:2] /= 60 if name != "head" else 1
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["loud"]),
        helper.make_node("MatMul", ["loud", "one"], ["first"]),
        helper.make_node("MatMul", ["loud", "two"], ["second"]),
        helper.make_node("Add", ["first", "second"], ["sum"]),
        helper.make_node("Add", ["sum", "loud"], ["beside"]),
        helper.make_node("MatMul", ["beside", shared], ["last"]),
        helper.make_node("ReduceMean", ["last", "axes"], ["logits"], keepdims=0),
    ]
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", "T", WIDTH]),
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", WIDTH]),
    ]
    arrays["axes"] = np.array([1])
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "encoder", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.fixture
def texts():
    rng = np.random.default_rng(1)
    return [{"x": rng.normal(size=(1, n, WIDTH)).astype(np.float32)} for n in (3, 9, 5, 7)]


def logits(model, texts):
    session = open_here(model)
    return np.concatenate([session.run(text)[0] for text in texts])


LARGEST = {
    name: np.linspace(0.1, 90, WIDTH, dtype=np.float32) for name in ("loud", "beside", "sum")
}


@pytest.mark.parametrize("share", [0.0, *SHARES, 1.0])
def test_the_floats_stay_the_same(texts, share):
    model = encoder()
    before = model.SerializeToString()
    found = logits(smooth(model, LARGEST, share), texts)
    expected = logits(model, texts)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())
    assert model.SerializeToString() == before


def test_one_product_divides_for_all_that_share_an_activation():
    made = smooth(encoder(), LARGEST, 0.5)
    onnx.checker.check_model(made, full_check=True)
    inputs = [(node.op_type, node.input[0]) for node in made.graph.node]
    assert Counter(inputs)["MatMul", "loud_smooth"] == 2
    assert Counter(inputs)["Mul", "loud"] == Counter(inputs)["Mul", "beside"] == 1
    assert ("Add", "sum") in inputs  # what is summed is not divided


def test_weights_of_several_products_are_left_alone():
    made = smooth(encoder(shared="one"), LARGEST, 0.5)
    stored = {each.name: numpy_helper.to_array(each) for each in made.graph.initializer}
    before = {each.name: each for each in encoder(shared="one").graph.initializer}
    assert stored["one"].shape == tuple(before["one"].dims)
    inputs = [tuple(node.input) for node in made.graph.node if node.op_type == "MatMul"]
    assert inputs == [("loud", "one"), ("loud_smooth", "two"), ("beside", "one")]


def test_loud_channels_cost_less_noise(texts):
    model = encoder()
    made, share = smoothed(model, texts, QUANTISE, shift_invariant=True)
    assert share in SHARES
    wanted = logits(model, texts)
    plain, better = (sqnr_db(wanted, logits(each, texts)) for each in (QUANTISE(model), made))
    assert better > plain + 6


@pytest.mark.parametrize("per_channel", [True, False])
def test_shares_are_told_apart_by_what_the_tool_would_write(texts, monkeypatch, per_channel):
    """All shares but the first are written by us, in a hundredth of its time."""
    monkeypatch.setattr("edgetransfer.compress.weights.SHARES", (0.0, 0.6))
    quantise = partial(quantise_weights, scheme=Int8Scheme(per_channel=per_channel))
    model = encoder()
    made, share = smoothed(model, texts, quantise, shift_invariant=True)
    expected = quantise(smooth(model, largest(model, texts), share))
    assert share == 0.6
    assert made.graph.node == expected.graph.node
    stored = {each.name: numpy_helper.to_array(each) for each in expected.graph.initializer}
    for each in made.graph.initializer:
        np.testing.assert_array_equal(numpy_helper.to_array(each), stored.pop(each.name))
    assert not stored
