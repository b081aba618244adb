"""Integers are read out of a graph as they were written, or as another quantiser wrote them."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from edgetransfer.compress.encoding import WEIGHT_LIMIT
from edgetransfer.compress.layout import find_layout
from edgetransfer.compress.qdq import read_encoding, write_qdq
from edgetransfer.errors import StageError
from edgetransfer.spec.target import Int8Scheme

EXAMPLES = 20


def read_back(quantised, graph=None):
    return read_encoding(
        graph or quantised.graph(),
        quantised.model.graph,
        quantised.layout,
        quantised.encoding.scheme,
    )


def test_what_was_written_is_read(quantised):
    found, given = read_back(quantised), quantised.encoding
    assert found.grids == given.grids
    assert found.scheme == given.scheme
    assert found.weights.keys() == given.weights.keys()
    for name, codes in given.weights.items():
        np.testing.assert_array_equal(found.weights[name].codes, codes.codes)
        np.testing.assert_array_equal(found.weights[name].scale, codes.scale)
    for layer in quantised.layout.layers:
        source = given.grids[quantised.layout.root(layer.input.name)].scale
        steps = source * given.weights[layer.name].scale
        off = np.abs(found.biases[layer.name] - given.biases[layer.name])
        assert (off <= 0.51 * steps).all()


def test_reading_and_writing_again_changes_nothing(quantised):
    again = write_qdq(quantised.model, quantised.layout, read_back(quantised))
    assert again.SerializeToString() == quantised.graph().SerializeToString()


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize(("activation", "weight"), [("u8", "s8"), ("s8", "s8"), ("u8", "u8")])
def test_in_every_scheme(network, pictures, quantised_from, per_channel, activation, weight):
    scheme = Int8Scheme(activation=activation, weight=weight, per_channel=per_channel)
    made = quantised_from(network, pictures[:EXAMPLES], scheme)
    again = write_qdq(made.model, made.layout, read_back(made))
    assert again.SerializeToString() == made.graph().SerializeToString()


@pytest.mark.parametrize("active", [True, False])
def test_matrix_products_keep_their_biases_as_floats(build, quantised_from, active):
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["input", "w0"], ["product"]),
        helper.make_node("Add", ["product", "b0"], ["hidden"]),
        helper.make_node("Relu" if active else "Identity", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active" if active else "hidden", "w1"], ["logits"]),
    ]
    constants = {"w0": (6, 8), "b0": (8,), "w1": (8, 4)}
    constants = {k: rng.normal(size=shape).astype("f") for k, shape in constants.items()}
    examples = rng.normal(size=(16, 6)).astype("f")
    made = quantised_from(build(nodes, constants, ["batch", 6]), examples)
    found = read_back(made)
    np.testing.assert_array_equal(found.biases["w0"], made.encoding.biases["w0"])
    assert write_qdq(made.model, made.layout, found) == made.graph()


def test_an_output_of_the_graph_that_is_quantised(build, quantised_from):
    rng = np.random.default_rng(0)
    nodes = [helper.make_node("Conv", ["input", "w", "b"], ["logits"], name="conv")]
    constants = {"w": rng.normal(size=(4, 3, 1, 1)).astype("f"), "b": np.ones(4, "f")}
    model = build(nodes, constants, ["batch", 3, 5, 5], ("batch", 4, 5, 5))
    made = quantised_from(model, rng.normal(size=(16, 3, 5, 5)).astype("f"))
    assert write_qdq(made.model, made.layout, read_back(made)) == made.graph()


class Reader(CalibrationDataReader):
    def __init__(self, pictures):
        self._rows = iter({"input": pictures[i : i + 1]} for i in range(len(pictures)))

    def get_next(self):
        return next(self._rows, None)


@pytest.fixture(scope="module")
def theirs(network, pictures, tmp_path_factory):
    """What ONNX Runtime's quantiser makes of the network: u8s8, one scale a channel."""
    folder = tmp_path_factory.mktemp("theirs")
    onnx.save(network, folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "quantised.onnx",
        Reader(pictures[:EXAMPLES]),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return onnx.load(folder / "quantised.onnx")


def test_what_another_quantiser_found_is_read_and_fused(
    network, pictures, theirs, resident, sqnr_db, run
):
    model = ir.from_proto(network)
    layout = find_layout(model.graph)
    found = read_encoding(theirs, model.graph, layout, Int8Scheme())
    assert set(found.grids) == set(layout.roots())
    for layer in layout.layers:
        codes = found.weights[layer.name]
        assert len(codes.scale) == len(layer.weights())
        off = np.abs(codes.numbers() - layer.weights())
        wide = codes.scale.reshape(-1, *(1,) * (off.ndim - 1))
        assert (off <= 0.501 * wide).all()
        assert np.abs(codes.codes).max() <= WEIGHT_LIMIT
    fused = write_qdq(model, layout, found)
    assert resident(fused).float_conv == 0
    assert sqnr_db(fused) > sqnr_db(theirs) - 1
    unseen = pictures[EXAMPLES:]
    reference = run(network, input=unseen)
    error = np.abs(run(fused, input=unseen) - run(theirs, input=unseen)).max()
    assert error < 0.1 * np.abs(reference).max()


def refused(quantised, change):
    graph = quantised.graph()
    change(graph.graph)
    with pytest.raises(StageError) as caught:
        read_back(quantised, graph)
    return str(caught.value)


EXPECTED = "  expected: Q/DQ in 8 bits around the layers of the float graph"


def test_a_tensor_that_is_not_quantised_there(quantised):
    def change(graph):
        (node,) = (node for node in graph.node if node.name == "features_quantise")
        node.op_type, node.name = "Identity", "same"

    assert refused(quantised, change) == (
        "tensor features: the quantised graph cannot be read\n"
        f"  found: no QuantizeLinear\n{EXPECTED}"
    )


def test_a_layer_that_is_not_quantised_there(quantised):
    def change(graph):
        (node,) = (node for node in graph.node if node.name == "stem.w_dequantised")
        node.op_type = "Cast"

    assert refused(quantised, change) == (
        "layer stem.w: the quantised graph cannot be read\n"
        f"  found: no DequantizeLinear before the weights\n{EXPECTED}"
    )


def test_sixteen_bits(quantised):
    def change(graph):
        (zero,) = (each for each in graph.initializer if each.name == "input_zero_point")
        zero.CopyFrom(numpy_helper.from_array(np.array(3, np.uint16), zero.name))

    assert refused(quantised, change) == (
        "tensor input: the quantised graph cannot be read\n"
        f"  found: uint16 with 1 scales\n{EXPECTED}"
    )


def test_a_float_graph_has_no_integers(network, quantised):
    with pytest.raises(StageError) as caught:
        read_back(quantised, network)
    assert str(caught.value) == (
        f"tensor input: the quantised graph cannot be read\n  found: no QuantizeLinear\n{EXPECTED}"
    )


def test_several_zero_points(quantised):
    def change(graph):
        (zero,) = (each for each in graph.initializer if each.name == "stem.w_zero")
        zeros = numpy_helper.to_array(zero).copy()
        zeros[0] = 3
        zero.CopyFrom(numpy_helper.from_array(zeros, zero.name))

    assert refused(quantised, change) == (
        "node stem.w_dequantised: the quantised graph cannot be read\n"
        f"  found: several zero points\n{EXPECTED}"
    )


def test_a_scale_that_is_computed(quantised):
    def change(graph):
        (scale,) = (each for each in graph.initializer if each.name == "input_scale")
        graph.initializer.remove(scale)
        graph.node.insert(0, helper.make_node("Constant", [], ["input_scale"], value=scale))
        graph.node.insert(1, helper.make_node("Abs", ["input_scale"], ["abs_scale"]))
        (node,) = (node for node in graph.node if node.name == "input_quantise")
        node.input[1] = "abs_scale"

    assert refused(quantised, change) == (
        "the quantised graph: the quantised graph cannot be read\n"
        f"  found: a scale that is computed\n{EXPECTED}"
    )
