"""Every rewrite, on graphs as stages make them, leaves one that loads without a warning."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from edgetransfer.compress.posttraining import CalibrationBatches, quantise
from edgetransfer.compress.weights import largest, quantise_weights, smooth, to_half
from edgetransfer.errors import StageError
from edgetransfer.export.onnx_bundle import whole_model, write_picture_classifier
from edgetransfer.graph.finished import finished
from edgetransfer.graph.hosted import exact_here, open_here, with_float_products
from edgetransfer.measure.drift import sqnr_db
from edgetransfer.spec.catalogue import CalibrationRecipe
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.spec.target import Int8Scheme
from edgetransfer.tasks.classification.ship.head_files import find_head, with_features, with_head

CONTRACT = ImagePreprocessing(exact=(32, 32))
RECIPE = CalibrationRecipe(name="auto", method="auto")


def integers(model, feeds, folder, **scheme):
    def batches():
        return iter({"input": each} for each in torch.from_numpy(feeds["input"]).split(8))

    calibration = CalibrationBatches(batches, len(feeds["input"]), folder)
    return quantise(model, Int8Scheme(**scheme), RECIPE, calibration).graph()


def half(model, feeds, folder):
    return to_half(model, [feeds])[0]


def dynamic(model, feeds, folder):
    return quantise_weights(model, Int8Scheme())


def smoothed(model, feeds, folder):
    texts = [{name: each[:1] for name, each in feeds.items()}]
    return smooth(model, largest(model, texts), 0.5)


def other_head(model, feeds, folder):
    return with_head(model, find_head(model).head)


def whole(model, feeds, folder):
    return whole_model(model, CONTRACT)


def classifier(model, feeds, folder):
    write_picture_classifier(folder, model, {"model_type": "vit"}, list("abcd"), CONTRACT)
    return onnx.load(folder / "optimum" / "model.onnx")


SIGNED = {
    "activation": "s8",
    "symmetric_activation": True,
    "quantised_bias": False,
    "own_operators": False,
}
OF_PICTURES = {
    "traced": lambda model, feeds, folder: finished(model, "here"),
    "half": half,
    "int8": integers,
    "unsigned": lambda *given: integers(*given, weight="u8"),
    "for TensorRT": lambda *given: integers(
        *given,
        activation="s8",
        symmetric_activation=True,
        quantised_bias=False,
        own_operators=False,
    ),
    "head of int8": lambda model, feeds, folder: other_head(
        integers(model, feeds, folder), feeds, folder
    ),
    "head of half": lambda model, feeds, folder: other_head(
        half(model, feeds, folder), feeds, folder
    ),
    "head": other_head,
    "whole int8": lambda model, feeds, folder: whole(integers(model, feeds, folder), feeds, folder),
    "whole": whole,
    "classifier": classifier,
    "features": lambda model, feeds, folder: with_features(model),
}
OF_TEXTS = {
    "traced": lambda model, feeds, folder: finished(model, "here"),
    "half": half,
    "dynamic": dynamic,
    "smoothed": smoothed,
    "smoothed and dynamic": lambda model, feeds, folder: dynamic(
        smoothed(model, feeds, folder), feeds, folder
    ),
    "float products": lambda model, feeds, folder: with_float_products(
        dynamic(model, feeds, folder)
    ),
    "head of dynamic": lambda model, feeds, folder: other_head(
        dynamic(model, feeds, folder), feeds, folder
    ),
}


@pytest.fixture
def opened(capfd):
    """Open a graph as an app does, warnings told; it must have none, and nothing dead in it."""

    def silently(model):
        bare = onnx.ModelProto()
        bare.CopyFrom(model)
        del bare.graph.value_info[:]
        inferred = kinds(onnx.shape_inference.infer_shapes(bare, data_prop=True))
        assert kinds(model) == inferred
        taken = {name for node in model.graph.node for name in node.input}
        taken |= {each.name for each in model.graph.output}
        assert {each.name for each in model.graph.initializer} - taken == set()
        assert [n.name for n in model.graph.node if not taken & set(n.output)] == []
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 2
        options.intra_op_num_threads = 1
        for name, value in exact_here().items():
            options.add_session_config_entry(name, value)
        capfd.readouterr()
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        assert capfd.readouterr().err == ""
        return session

    return silently


def kinds(model):
    return {each.name: each.type.tensor_type.elem_type for each in model.graph.value_info}


def with_types(model):
    """Return the graph with what a file may say beside its nodes, half of it wrong."""
    told = onnx.shape_inference.infer_shapes(model)
    for value in told.graph.value_info[::2]:
        value.type.tensor_type.shape.dim.add(dim_value=7)
    gone = helper.make_tensor_value_info("gone", TensorProto.FLOAT, [1])
    told.graph.value_info.append(gone)
    told.graph.initializer.append(numpy_helper.from_array(np.float32([1]), "left over"))
    return told


@pytest.mark.parametrize("told", [False, True], ids=["as traced", "with types"])
@pytest.mark.parametrize("kind", OF_PICTURES)
def test_rewrites_of_traced_pictures_e8(traced_pictures, opened, tmp_path, kind, told):
    model, feeds = traced_pictures
    made = OF_PICTURES[kind](with_types(model) if told else model, feeds, tmp_path)
    session = opened(made)
    if kind in ("features", "whole", "whole int8"):
        return
    (name,) = (each.name for each in session.get_inputs())
    expected, (logits,) = open_here(model).run(feeds)[0], session.run(None, {name: feeds["input"]})
    assert sqnr_db(expected, logits) > 15


@pytest.mark.parametrize("told", [False, True], ids=["as traced", "with types"])
@pytest.mark.parametrize("kind", OF_TEXTS)
def test_rewrites_of_traced_texts_d1(traced_texts, opened, tmp_path, kind, told):
    model, feeds = traced_texts
    session = opened(OF_TEXTS[kind](with_types(model) if told else model, feeds, tmp_path))
    (logits,) = session.run(None, feeds)
    assert sqnr_db(open_here(model).run(feeds)[0], logits) > 20


@pytest.mark.parametrize("told", [False, True], ids=["as traced", "with types"])
def test_activations_beyond_16_bits_stay_in_32_d1(traced_large, opened, told):
    model, feeds = traced_large
    made, wide = to_half(with_types(model) if told else model, [feeds])
    assert len(wide) == 3  # the large layer, its activation, and the layer that takes it
    (logits,) = opened(made).run(None, feeds)
    assert sqnr_db(open_here(model).run(feeds)[0], logits) > 40


def test_what_contradicts_its_nodes_is_refused():
    given, got = (
        helper.make_tensor_value_info(name, kind, [1])
        for name, kind in (("x", TensorProto.FLOAT), ("y", TensorProto.INT64))
    )
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [given], [got])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    with pytest.raises(StageError) as stopped:
        finished(model, "here")
    assert str(stopped.value).startswith("here: the graph is not valid ONNX\n")


def test_sizes_that_inference_does_not_find_are_kept_and_wrong_ones_are_not():
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 4]) for n in ("x", "y")]
    shape = helper.make_tensor_value_info("shape", TensorProto.INT64, [2])
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["b"]),
        helper.make_node("Relu", ["b"], ["y"]),
    ]
    said = [
        helper.make_tensor_value_info("a", TensorProto.FLOAT16, ["N", 5]),
        helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N", 4]),
    ]
    graph = helper.make_graph(nodes, "g", [ends[0], shape], ends[1:], value_info=said)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    made = finished(model, "here")
    assert list(made.graph.value_info) == [
        helper.make_tensor_value_info("a", TensorProto.FLOAT, ["N", 4]),
        helper.make_tensor_value_info("b", TensorProto.FLOAT, ["N", 4]),
    ]


def test_types_inside_of_branches_go_too():
    inner = helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["inner"]), helper.make_node("Neg", ["inner"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        value_info=[inner],
    )
    ends = [
        helper.make_tensor_value_info(name, kind, [1])
        for name, kind in (("x", TensorProto.FLOAT), ("if", TensorProto.BOOL))
    ]
    node = helper.make_node("If", ["if"], ["y"], then_branch=branch, else_branch=branch)
    got = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([node], "g", ends, [got])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    made = finished(model, "here")
    assert [len(each.g.value_info) for each in made.graph.node[0].attribute] == [0, 0]
    assert open_here(made).run({"x": np.float32([3]), "if": np.array([True])})[0] == [-3]
