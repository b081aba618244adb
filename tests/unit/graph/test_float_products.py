"""Integer products written out in float give the integers they mean."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.graph.hosted import with_float_products


def product(weights, zeros):
    """A graph of one MatMulInteger over uint8 rows, with zero points or without."""
    names = ["a", "w", *(("az", "wz") if zeros else ())]
    kept = [numpy_helper.from_array(weights, "w")]
    if zeros:
        kept += [numpy_helper.from_array(np.array(v, t), n) for n, v, t in (
            ("az", 7, np.uint8), ("wz", 0, weights.dtype),
        )]  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", names, ["y"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [None, len(weights)])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [None, weights.shape[1]])],
        kept,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


@pytest.mark.parametrize("zeros", [True, False], ids=["zero points", "none"])
@pytest.mark.parametrize("kind", [np.int8, np.uint8])
def test_the_largest_codes_are_added_up_exactly(zeros, kind):
    """127 x 255 twice is more than 16 bits hold: kernels without VNNI saturate there."""
    weights = np.full((64, 3), np.iinfo(kind).max, kind)
    weights[::3] = np.iinfo(kind).min
    rows = np.full((2, 64), 255, np.uint8)
    rows[1] = np.arange(64)
    written = with_float_products(product(weights, zeros))
    onnx.checker.check_model(written, full_check=True)
    (found,) = OnnxSession(written.SerializeToString(), fused=False).run({"a": rows})
    meant = (rows.astype(np.int64) - (7 if zeros else 0)) @ weights.astype(np.int64)
    np.testing.assert_array_equal(found, meant)


def test_a_graph_without_integer_products_is_left_alone():
    node = helper.make_node("Identity", ["a"], ["y"])
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ay"]
    graph = helper.make_graph([node], "same", ports[:1], ports[1:])
    assert with_float_products(helper.make_model(graph)) is None
