"""Counts that can be checked by hand."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.graph.census import macs, parameters, residency


def node(kind, inputs, *outputs, **attributes):
    return helper.make_node(
        kind, inputs.split(), list(outputs), name=f"{kind}_{outputs[0]}", **attributes
    )


@pytest.mark.parametrize(
    ("weight", "attributes", "count"),
    [
        ((4, 3, 3, 3), {}, 7 * 7 * 4 * 27),
        ((4, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}, 5 * 5 * 4 * 27),
        ((6, 1, 3, 3), {"group": 3}, 7 * 7 * 6 * 9),
        ((5, 3, 1, 1), {}, 9 * 9 * 5 * 3),
    ],
    ids=["plain", "strided", "depthwise", "pointwise"],
)
def test_macs_of_a_convolution(graph, normal, weight, attributes, count):
    nodes = [node("Conv", "x w", "y", **attributes)]
    assert macs(graph(nodes, {"w": normal(*weight)})) == count


@pytest.mark.parametrize(
    ("kind", "weight", "attributes"),
    [("MatMul", (12, 5), {}), ("Gemm", (12, 5), {}), ("Gemm", (5, 12), {"transB": 1})],
)
def test_macs_of_a_matrix_product(graph, normal, kind, weight, attributes):
    model = graph(
        [node(kind, "x w", "y", **attributes)], {"w": normal(*weight)}, inputs={"x": ["N", 12]}
    )
    assert macs(model) == 60


def test_macs_of_a_product_whose_first_factor_is_transposed(graph, normal):
    model = graph([node("Gemm", "w x", "y", transA=1)], {"w": normal(12, 5)}, inputs={"x": [12, 7]})
    assert macs(model) == 5 * 7 * 12


def test_macs_of_a_whole_network_are_for_one_example(traced):
    assert macs(traced) == 8 * 8 * 8 * 27 + 8 * 8 * 8 * 9 + 8 * 5


def test_macs_of_what_has_any_length_are_not_known(graph, normal):
    model = graph(
        [node("MatMul", "x w", "y")], {"w": normal(12, 5)}, inputs={"x": ["N", "length", 12]}
    )
    assert macs(model) is None


def test_parameters(graph, normal):
    constants = {"w": normal(4, 3, 3, 3), "b": normal(4), "one": np.float32(1)}
    assert parameters(graph([node("Conv", "x w b", "y")], constants)) == 4 * 27 + 4 + 1


def optimised(model, tmp_path):
    target = tmp_path / "optimised.onnx"
    OnnxSession(model.SerializeToString(), optimised_to=str(target))
    return onnx.load(target)


@pytest.fixture
def quantised(graph, normal):
    """Q/DQ around a convolution; ``inside`` stands between its input's DQ and itself."""

    def make(inside=()):
        constants = {
            "s": np.float32(0.05),
            "z": np.uint8(128),
            "ws": np.full(4, 0.01, np.float32),
            "wz": np.zeros(4, np.int8),
            "wq": np.clip(normal(4, 3, 3, 3) * 40, -127, 127).astype(np.int8),
        }
        nodes = [
            node("QuantizeLinear", "x s z", "xq"),
            node("DequantizeLinear", "xq s z", "xd"),
            *inside,
            node("DequantizeLinear", "wq ws wz", "wd", axis=0),
            node("Conv", f"{'i' if inside else 'xd'} wd", "c"),
            node("QuantizeLinear", "c s z", "cq"),
            node("DequantizeLinear", "cq s z", "y"),
        ]
        return graph(nodes, constants)

    return make


def test_a_fused_convolution_is_in_int8(quantised, tmp_path):
    found = residency(optimised(quantised(), tmp_path))
    assert (found.int8_conv, found.float_conv, found.float_ops) == (1, 0, ())


def test_a_convolution_left_in_float_is_named(quantised, tmp_path):
    between = [node("Sin", "xd", "i")]  # no integer kernel: it keeps the DQ from the Conv
    found = residency(optimised(quantised(between), tmp_path))
    assert (found.int8_conv, found.float_conv) == (0, 1)
    assert found.float_ops == ("Conv Conv_c",)


def test_products_are_named_and_nameless_nodes_go_by_their_output():
    floats = TensorProto.FLOAT
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("FusedMatMul", ["x", "x"], ["m"], domain="com.microsoft"),
                helper.make_node("Gemm", ["x", "x"], ["g"], name="head"),
                helper.make_node("MatMulInteger", ["x", "x"], ["q"]),
                helper.make_node("Relu", ["m"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", floats, [2, 2])],
            [helper.make_tensor_value_info("y", floats, [2, 2])],
        )
    )
    assert residency(model).float_ops == ("FusedMatMul m", "Gemm head")
