"""A graph that TensorRT would not take is refused before it is shipped."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.errors import StageError
from edgetransfer.export.tensorrt import refuse_unfit, write_for_tensorrt
from edgetransfer.graph.embed import whole_model
from edgetransfer.spec import catalogue
from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing

GRID = {"s": np.float32(0.1), "z": np.int8(0)}


def graph_of(nodes, constants, opset=20):
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    gives = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = helper.make_graph(nodes, "g", [given], [gives], initializer=tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


def pair(source, out, zero="z", scale="s"):
    return [
        helper.make_node("QuantizeLinear", [source, scale, zero], [f"{out}.q"], name=f"{out}.Q"),
        helper.make_node("DequantizeLinear", [f"{out}.q", scale, zero], [out], name=f"{out}.DQ"),
    ]


def found_in(model):
    with pytest.raises(StageError) as caught:
        refuse_unfit(model)
    (found,) = (line for line in str(caught.value).splitlines() if line.startswith("  found: "))
    return found.removeprefix("  found: ")


def test_the_whole_message():
    with pytest.raises(StageError) as caught:
        refuse_unfit(graph_of(pair("x", "y", zero="u"), GRID | {"u": np.uint8(128)}))
    assert str(caught.value) == (
        "export: the graph is not one that TensorRT takes\n"
        "  found: QuantizeLinear y.Q is in uint8; DequantizeLinear y.DQ is in uint8\n"
        "  expected: standard operators up to opset 20, int8 with zero points of zero, biases in "
        "float, and sums of integers alone\n"
        "  fix: build with --precision fp16"
    )


def test_symmetric_int8_is_taken():
    refuse_unfit(graph_of(pair("x", "y"), GRID))


def test_a_zero_point_that_is_not_zero():
    model = graph_of(pair("x", "y", zero="o"), GRID | {"o": np.int8(3)})
    assert found_in(model) == (
        "QuantizeLinear y.Q has a zero point that is not zero; "
        "DequantizeLinear y.DQ has a zero point that is not zero"
    )


def test_a_bias_in_int32():
    nodes = [helper.make_node("DequantizeLinear", ["b", "s", "w"], ["y"], name="bias")]
    model = graph_of(nodes, GRID | {"b": np.arange(4, dtype=np.int32), "w": np.int32(0)})
    assert found_in(model) == "DequantizeLinear bias is in int32"


def test_a_scale_of_zero():
    model = graph_of(pair("x", "y", scale="n"), GRID | {"n": np.float32(0)})
    assert found_in(model).startswith("QuantizeLinear y.Q has a scale that is not above zero")


def test_an_operator_of_one_runtime_alone():
    nodes = [helper.make_node("Gelu", ["x"], ["y"], name="g", domain="com.microsoft")]
    assert found_in(graph_of(nodes, {})) == "Gelu g of com.microsoft"


def test_a_newer_operator_set():
    assert found_in(graph_of([helper.make_node("Relu", ["x"], ["y"])], {}, 23)) == "opset 23"


@pytest.mark.parametrize("other", ["x", "b"])
def test_a_sum_of_an_integer_and_a_float_that_gives_an_integer(other):
    nodes = [
        *pair("x", "a"),
        helper.make_node("Relu", ["x"], ["b"]),
        helper.make_node("Add", ["a", other], ["t"], name="sum"),
        *pair("t", "y"),
    ]
    assert found_in(graph_of(nodes, GRID)) == "Add sum adds integers to floats"


def test_a_sum_that_gives_floats_or_adds_a_constant_is_taken():
    gives_floats = [*pair("x", "a"), helper.make_node("Add", ["a", "x"], ["y"])]
    refuse_unfit(graph_of(gives_floats, GRID))
    constant = [*pair("x", "a"), helper.make_node("Add", ["a", "k"], ["t"]), *pair("t", "y")]
    refuse_unfit(graph_of(constant, GRID | {"k": np.ones(4, np.float32)}))


def test_of_many_faults_five_are_shown():
    nodes = [
        helper.make_node("Gelu", ["x"], [f"y{i}" if i else "y"], name=f"g{i}", domain="odd")
        for i in range(7)
    ]
    assert found_in(graph_of(nodes, {})).endswith("Gelu g4 of odd; and 2 more")


def test_the_graph_stays_as_it_is():
    model = graph_of(pair("x", "y"), GRID)
    before = model.SerializeToString(deterministic=True)
    refuse_unfit(model)
    assert model.SerializeToString(deterministic=True) == before


def core_for(shape, inputs=("input",), kind=TensorProto.FLOAT):
    """A network whose logits are sums of its first input's numbers."""
    ports = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    nodes = [
        helper.make_node("Cast", [inputs[0]], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axes"], ["logits"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.arange(2, len(shape), dtype=np.int64), "axes")
    gives = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "class"])
    graph = helper.make_graph(nodes, "g", ports, [gives], initializer=[axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    model.ir_version = 10
    return model


@pytest.mark.parametrize("size", [(40, 60), (16, 16), (1, 7)])
def test_prepare_onnx_and_core_onnx_are_model_onnx(tmp_path, size):
    """F: how a picture is prepared on a Jetson, held against what every other device runs."""
    contract = ImagePreprocessing(
        shortest_edge=20, crop=(16, 16), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2)
    )
    core = core_for(["batch", 3, 16, 16])
    write_for_tensorrt(tmp_path, core, contract, catalogue.target("jetson-orin-nano"))
    picture = np.random.default_rng(0).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    whole = OnnxSession(whole_model(core, contract).SerializeToString())
    prepared = OnnxSession(tmp_path / "prepare.onnx").run({"picture": picture})[0]
    logits = OnnxSession(core.SerializeToString()).run({"input": prepared})[0]
    np.testing.assert_array_equal(logits, whole.run({"picture": picture})[0])


def test_the_readme_says_how_an_engine_is_built(tmp_path):
    core = core_for(["batch", 3, 16, 16])
    contract = ImagePreprocessing(exact=(16, 16))
    write_for_tensorrt(tmp_path, core, contract, catalogue.target("jetson-orin-nano"))
    text = (tmp_path / "TENSORRT.md").read_text(encoding="utf-8")
    line = (
        "trtexec --onnx=core.onnx --saveEngine=core.engine --minShapes=input:1x3x16x16 "
        "--optShapes=input:1x3x16x16 --maxShapes=input:8x3x16x16 --noTF32"
    )
    assert f"    {line}      # TensorRT 10.0 to 10.11: JetPack 6\n" in text
    assert f"    {line} --stronglyTyped    # TensorRT 10.12 and newer: JetPack 7\n" in text
    assert "the input `input` of the engine" in text


def test_texts_have_two_free_axes_and_no_prepare_onnx(tmp_path):
    names = ("input_ids", "attention_mask")
    core = core_for(["batch", "tokens"], names, TensorProto.INT64)
    target = catalogue.target("jetson-orin-nano")
    write_for_tensorrt(tmp_path, core, TextPreprocessing(), target)
    text = (tmp_path / "TENSORRT.md").read_text(encoding="utf-8")
    assert "--maxShapes=input_ids:8x512,attention_mask:8x512 " in text
    assert not (tmp_path / "prepare.onnx").exists()
