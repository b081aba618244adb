"""What TensorRT's inspector says of an engine, in the form that it has since TensorRT 8.

Written by hand: the layers of a network of ours, with the fields and words that NVIDIA's own
explorer of engines reads. No engine of ours has been inspected on a GPU yet.
"""

import json

import onnx
import pytest
from onnx import TensorProto, helper

from edgetransfer.graph.engine import engine_residency, read_residency

FLOAT, HALF = "Row major linear FP32", "Channel major FP16 format where channel % 8 == 0"
INT8 = "Thirty-two wide channel vectorized row major Int8 format"


def layer(name, kind, taken, weights=None, parameters="Convolution"):
    found = {
        "Name": name,
        "LayerType": kind,
        "ParameterType": parameters,
        "Inputs": [{"Name": "in", "Dimensions": [1, 3, 8, 8], "Format/Datatype": taken}],
    }
    return found if weights is None else {**found, "Weights": {"Type": weights, "Count": 9}}


ENGINE = {
    "Layers": [
        layer("input_quantise", "Reformat", FLOAT, parameters="Reformat"),
        layer("stem", "CaskConvolution", INT8, "Int8"),
        layer("depthwise", "CudaDepthwiseConvolution", INT8, "Int8"),
        layer("left", "CaskConvolution", HALF, "Half"),
        layer("mean", "Reduce", FLOAT, parameters="Reduce"),
        layer("head", "gemm", FLOAT, parameters="MatrixMultiply"),
    ],
    "I/O Tensors": [],
}


def test_convolutions_are_counted_by_what_they_compute_in():
    found = engine_residency(ENGINE)
    assert (found.int8_conv, found.float_conv) == (2, 1)
    assert found.float_ops == ("convolution left (fp16)", "gemm head (fp32)")


def test_what_was_fused_beyond_recognition_is_named():
    told = {"Layers": [layer("{ForeignNode[a...b]}", "Myelin", HALF, parameters="Myelin")]}
    assert engine_residency(told).float_ops == ("fused {ForeignNode[a...b]} (fp16)",)


def test_names_without_details_say_nothing_of_types():
    assert engine_residency({"Layers": ["stem"]}).float_ops == ("layer stem (unknown)",)


@pytest.mark.parametrize("form", ["json", "onnx"])
def test_either_file_is_read(tmp_path, form):
    file = tmp_path / "optimised"
    if form == "json":
        file.write_text("\n" + json.dumps(ENGINE))
        assert read_residency(file).int8_conv == 2
        return
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c")
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xwy"]
    graph = helper.make_graph([node], "g", tensors[:2], tensors[2:])
    onnx.save(helper.make_model(graph), file)
    assert read_residency(file).float_ops == ("Conv c",)
