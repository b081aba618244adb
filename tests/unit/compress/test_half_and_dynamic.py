"""16-bit floats, and 8-bit weights for matrix products."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.compress.weights import quantise_weights, to_half
from edgetransfer.spec.target import Int8Scheme


def test_half_is_close_and_half_as_large(network, pictures, sqnr_db, run):
    half, wide = to_half(network)
    assert wide == ()
    assert sqnr_db(half) > 55
    floats = [each for each in half.graph.initializer if each.data_type == TensorProto.FLOAT]
    assert floats == []
    assert run(half, input=pictures[:3]).shape == (3, 4)


def test_half_keeps_float32_at_its_ends(network):
    half, _ = to_half(network)
    ends = [*half.graph.input, *half.graph.output]
    assert [each.type.tensor_type.elem_type for each in ends] == [TensorProto.FLOAT] * 2
    assert (half.ir_version, half.producer_name) == (10, "edgetransfer")


def test_half_leaves_the_float_graph(network):
    before = onnx.ModelProto()
    before.CopyFrom(network)
    assert to_half(network)[0].SerializeToString() == to_half(network)[0].SerializeToString()
    assert network == before


def chain(scale):
    """x [N, 4] -> times a constant -> softmax -> logits."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["grown"], name="grow"),
        helper.make_node("Div", ["grown", "scale"], ["back"], name="shrink"),
        helper.make_node("Softmax", ["back"], ["logits"], name="softmax"),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("x", "logits")]
    constant = numpy_helper.from_array(np.float32([scale]), "scale")
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], [constant])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_half_keeps_in_32_bits_what_16_cannot_hold(run):
    x = np.float32([[1, 2, 3, 40]])
    model = chain(2000.0)
    plain, nothing = to_half(model)
    half, wide = to_half(model, [{"x": x}])
    assert (nothing, wide) == ((), ("grow", "shrink"))
    kinds = []
    for each in (plain, half):
        (constant,) = each.graph.initializer
        kinds.append(constant.data_type)
    assert kinds == [TensorProto.FLOAT16, TensorProto.FLOAT]
    np.testing.assert_allclose(run(half, x=x), run(model, x=x), atol=1e-3)


def test_half_leaves_softmax_in_32_bits():
    half, _ = to_half(chain(1.0))
    kinds = {each.name: each.type.tensor_type.elem_type for each in half.graph.output}
    assert kinds == {"logits": TensorProto.FLOAT}
    (softmax,) = (node for node in half.graph.node if node.op_type == "Softmax")
    (before,) = (node for node in half.graph.node if softmax.input[0] in node.output)
    (to,) = (each.i for each in before.attribute if each.name == "to")
    assert (before.op_type, to) == ("Cast", TensorProto.FLOAT)


@pytest.fixture
def ids():
    return np.random.default_rng(3).integers(0, 50, (6, 9))


def test_products_and_tables_are_stored_in_8_bits(products, ids, run):
    before = onnx.ModelProto()
    before.CopyFrom(products)
    small = quantise_weights(products, Int8Scheme())
    assert products == before
    kinds = [node.op_type for node in small.graph.node]
    assert kinds.count("MatMulInteger") == 2
    assert "MatMul" not in kinds
    large = [each for each in small.graph.initializer if numpy_helper.to_array(each).size > 100]
    assert {each.data_type for each in large} <= {TensorProto.INT8, TensorProto.UINT8}
    assert (small.ir_version, small.producer_name) == (10, "edgetransfer")
    expected, found = (run(model, input_ids=ids) for model in (products, small))
    assert np.corrcoef(expected.ravel(), found.ravel())[0, 1] > 0.999


def test_weights_per_channel_are_closer(products, ids, run):
    scaled = onnx.ModelProto()
    scaled.CopyFrom(products)
    (weight,) = (each for each in scaled.graph.initializer if each.name == "w1")
    uneven = numpy_helper.to_array(weight) * np.logspace(-2, 0, 64, dtype=np.float32)
    weight.CopyFrom(numpy_helper.from_array(uneven, "w1"))
    expected = run(scaled, input_ids=ids)
    channel, tensor = (
        np.abs(
            run(quantise_weights(scaled, Int8Scheme(per_channel=each)), input_ids=ids) - expected
        )
        for each in (True, False)
    )
    assert channel.mean() < tensor.mean()


def test_dynamic_gives_the_same_bytes_every_time(products, capsys):
    once, again = (quantise_weights(products, Int8Scheme()) for _ in range(2))
    assert once.SerializeToString() == again.SerializeToString()
    assert capsys.readouterr().out == ""
