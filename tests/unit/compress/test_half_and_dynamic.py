"""16-bit floats, and 8-bit weights for matrix products."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgetransfer.compress.dynamic import quantise_weights
from edgetransfer.compress.half import to_half
from edgetransfer.spec.target import Int8Scheme


def test_half_is_close_and_half_as_large(network, pictures, sqnr_db, run):
    half = to_half(network)
    assert sqnr_db(half) > 55
    floats = [each for each in half.graph.initializer if each.data_type == TensorProto.FLOAT]
    assert floats == []
    assert run(half, input=pictures[:3]).shape == (3, 4)


def test_half_keeps_float32_at_its_ends(network):
    half = to_half(network)
    ends = [*half.graph.input, *half.graph.output]
    assert [each.type.tensor_type.elem_type for each in ends] == [TensorProto.FLOAT] * 2
    assert (half.ir_version, half.producer_name) == (10, "edgetransfer")


def test_half_leaves_the_float_graph(network):
    before = onnx.ModelProto()
    before.CopyFrom(network)
    assert to_half(network).SerializeToString() == to_half(network).SerializeToString()
    assert network == before


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
