"""Graphs run on the build host with what its class of processors needs."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.graph import hosted
from edgetransfer.spec import catalogue


@pytest.fixture(autouse=True)
def forget():
    hosted.exact_here.cache_clear()
    yield
    hosted.exact_here.cache_clear()


@pytest.mark.parametrize(
    ("flags", "settings"),
    [({"avx2"}, {"session.x64quantprecision": "1"}), ({"avx2", "avx_vnni"}, {})],
)
def test_the_settings_are_those_of_the_class(monkeypatch, flags, settings):
    monkeypatch.setattr(hosted, "architecture", lambda: "x86_64")
    monkeypatch.setattr(hosted, "isa_flags", lambda: frozenset(flags))
    assert hosted.exact_here() == settings


def test_a_machine_of_no_class_needs_nothing(monkeypatch):
    monkeypatch.setattr(catalogue, "class_of", lambda *_: None)
    assert hosted.exact_here() == {}


def saturating():
    """Return a product whose pairs of 8-bit products pass 16 bits, as Q and DQ, and its result."""
    weight = np.full((64, 16), 127, dtype=np.int8)
    one = numpy_helper.from_array(np.float32(1), "one")
    zero_u8 = numpy_helper.from_array(np.uint8(0), "zero_u8")
    zero_s8 = numpy_helper.from_array(np.int8(0), "zero_s8")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "one", "zero_u8"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero_u8"], ["a"]),
        helper.make_node("DequantizeLinear", ["w", "one", "zero_s8"], ["b"]),
        helper.make_node("MatMul", ["a", "b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "saturating",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [8, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 16])],
        [one, zero_u8, zero_s8, numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model, np.full((8, 16), 64 * 255 * 127, dtype=np.float32)


def test_eight_bit_products_are_exact_on_any_machine():
    model, wanted = saturating()
    rows = hosted.open_here(model).run({"x": np.full((8, 64), 255, np.float32)})[0]
    np.testing.assert_array_equal(rows, wanted)
