"""What TensorRT says of an engine's layers, as its versions word it.

Written by hand, in the words of TensorRT 8's inspector and of what TensorRT-RTX 1.7 says of the
engines that `make test-tensorrt` builds. No engine of ours has been inspected on a GPU yet.
"""

import json

import onnx
import pytest
from onnx import TensorProto, helper

from edgetransfer.agent.runtimes.tensorrt.session import layers
from edgetransfer.graph.census import read_residency, residency_of

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
    found = residency_of(layers(ENGINE))
    assert (found.int8_conv, found.float_conv) == (2, 1)
    assert found.float_ops == ("convolution left (fp16)", "gemm head (fp32)")


def newer(name, kind, taken):
    inputs = [{"Name": "in", "Dimensions": [-1, 3, 8, 8], "Datatype": taken, "Format": "(NHWC)"}]
    return {"Name": name, "LayerType": kind, "Inputs": inputs, "Constants": []}


def test_the_words_of_newer_versions():
    found = [
        newer("__myl_MulMinMaxRounCastReplConc_myl0_1", "kgen", "Float"),
        newer("node_Conv_350_myl0_2", "correlation", "Int8"),
        newer("node_Conv_352_myl0_3", "correlation", "Half"),
        newer("__myl_ConvMulMinMax_myl0_4", "kgen", "Int8"),
        newer("__myl_FcAdd_myl0_46", "runtime_fusion", "Float"),
    ]
    found = residency_of(layers({"Layers": found}))
    assert (found.int8_conv, found.float_conv) == (2, 1)
    assert found.float_ops == (
        "convolution node_Conv_352_myl0_3 (fp16)",
        "gemm __myl_FcAdd_myl0_46 (fp32)",
    )


def test_names_without_details_say_nothing_of_types():
    assert residency_of(layers({"Layers": ["stem"]})).float_ops == ("layer stem (unknown)",)


@pytest.mark.parametrize("form", ["json", "onnx"])
def test_either_file_is_read(tmp_path, form):
    file = tmp_path / "optimised"
    if form == "json":
        file.write_text("\n" + json.dumps({"layers": list(layers(ENGINE))}))
        assert read_residency(file).int8_conv == 2
        return
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c")
    tensors = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xwy"]
    graph = helper.make_graph([node], "g", tensors[:2], tensors[2:])
    onnx.save(helper.make_model(graph), file)
    assert read_residency(file).float_ops == ("Conv c",)
