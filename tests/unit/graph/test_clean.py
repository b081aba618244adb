"""Whatever is folded, the outputs stay."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgetransfer.errors import StageError
from edgetransfer.graph.clean import clean
from edgetransfer.graph.finished import opset_of


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def pads(*begin_and_end):
    return np.array(begin_and_end, dtype=np.int64)


@pytest.fixture
def picture(normal):
    return normal(2, 3, 9, 9)


@pytest.fixture
def same(run, picture):
    """Clean a model and prove that its outputs are what they were."""

    def check(model):
        cleaned = clean(model)
        before, after = run(model, x=picture), run(cleaned, x=picture)
        for one, other in zip(before, after, strict=True):
            np.testing.assert_allclose(other, one, atol=1e-5)
        return cleaned

    return check


@pytest.fixture
def conv(normal):
    return {"w": normal(4, 3, 3, 3), "b": normal(4)}


@pytest.fixture
def norm(normal):
    return {"g": normal(4), "be": normal(4), "mu": normal(4), "va": np.abs(normal(4)) + 0.1}


TF_PAD = pads(0, 0, 0, 0, 0, 0, 1, 1)


def test_batch_norm_goes_into_the_convolution(graph, same, kinds, conv, norm):
    nodes = [node("Conv", "x w b", "c"), node("BatchNormalization", "c g be mu va", "y")]
    assert kinds(same(graph(nodes, {**conv, **norm}))) == ["Conv"]


def test_batch_norm_goes_into_a_depthwise_convolution_without_bias(graph, same, kinds, normal):
    constants = {"w": normal(3, 1, 3, 3), "g": normal(3), "be": normal(3), "mu": normal(3)}
    constants["va"] = np.abs(normal(3)) + 0.1
    nodes = [node("Conv", "x w", "c", group=3), node("BatchNormalization", "c g be mu va", "y")]
    assert kinds(same(graph(nodes, constants))) == ["Conv"]


def test_a_scale_and_shift_behind_a_convolution_go_into_it(graph, same, kinds, conv, normal):
    nodes = [node("Conv", "x w b", "c"), node("Mul", "c s", "m"), node("Add", "m o", "y")]
    assert kinds(same(graph(nodes, {**conv, "s": normal(1), "o": normal(1)}))) == ["Conv"]


@pytest.mark.parametrize(
    ("padding", "attributes", "folded"),
    [
        (pads(0, 0, 1, 1, 0, 0, 1, 1), {}, [1, 1, 1, 1]),
        (TF_PAD, {"strides": [2, 2]}, [0, 0, 1, 1]),
        (TF_PAD, {"pads": [1, 0, 1, 0]}, [1, 0, 2, 1]),
        (TF_PAD, {"auto_pad": "VALID", "strides": [2, 2]}, [0, 0, 1, 1]),
    ],
    ids=["even", "asymmetric", "added", "valid"],
)
def test_padding_goes_into_the_convolution(graph, same, conv, padding, attributes, folded):
    nodes = [node("Pad", "x p", "q"), node("Conv", "q w b", "y", **attributes)]
    cleaned = same(graph(nodes, {**conv, "p": padding}))
    (only,) = cleaned.graph.node
    assert only.op_type == "Conv"
    assert {each.name: list(each.ints) for each in only.attribute}["pads"] == folded


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER"])
def test_automatic_padding_becomes_numbers(graph, same, conv, auto_pad):
    nodes = [node("Conv", "x w b", "y", auto_pad=auto_pad, strides=[2, 2])]
    (only,) = same(graph(nodes, conv)).graph.node
    assert {"pads"} <= {each.name for each in only.attribute}


@pytest.mark.parametrize(
    ("padding", "value", "mode"),
    [
        (TF_PAD, np.float32(1), "constant"),
        (pads(0, 0, 1, 1, 0, 0, 1, 1), np.float32(0), "reflect"),
        (pads(0, 0, -1, -1, 0, 0, 1, 1), np.float32(0), "constant"),
    ],
    ids=["of ones", "reflected", "cut"],
)
def test_other_padding_stays(graph, same, kinds, conv, padding, value, mode):
    nodes = [node("Pad", "x p v", "q", mode=mode), node("Conv", "q w b", "y")]
    assert kinds(same(graph(nodes, {**conv, "p": padding, "v": value}))) == ["Pad", "Conv"]


def test_what_others_see_stays(graph, same, kinds, conv, norm):
    nodes = [
        node("Conv", "x w b", "c"),
        node("BatchNormalization", "c g be mu va", "y"),
        node("Relu", "c", "z"),
    ]
    cleaned = same(graph(nodes, {**conv, **norm}, outputs={"y": None, "z": None}))
    assert sorted(kinds(cleaned)) == ["BatchNormalization", "Conv", "Relu"]


def test_weights_that_another_convolution_shares_stay(graph, same, conv, norm, normal):
    nodes = [
        node("Conv", "x w b", "c"),
        node("BatchNormalization", "c g be mu va", "y"),
        node("Conv", "x w o", "z"),
    ]
    constants = {**conv, **norm, "o": normal(4)}
    same(graph(nodes, constants, outputs={"y": None, "z": None}))


def test_a_shift_before_a_padded_convolution_is_not_folded_wrongly(graph, same, conv, normal):
    nodes = [
        node("Mul", "x s", "m"),
        node("Add", "m o", "a"),
        node("Conv", "a w b", "y", pads=[1, 1, 1, 1]),
    ]
    same(graph(nodes, {**conv, "s": normal(1), "o": normal(1)}))


def test_what_is_not_used_and_what_is_constant_goes(graph, same, kinds, normal):
    nodes = [
        node("Add", "a b", "c"),
        node("Mul", "x c", "y"),
        node("Exp", "x", "nobody"),
        node("Identity", "a", "same"),
    ]
    assert kinds(same(graph(nodes, {"a": normal(1), "b": normal(1)}))) == ["Mul"]


def test_an_old_operator_set_is_converted(graph, same, conv):
    nodes = [node("Conv", "x w b", "c"), node("ReduceMean", "c", "y", axes=[2, 3])]
    cleaned = same(graph(nodes, conv, opset=13))
    assert opset_of(cleaned) == 18


@pytest.mark.parametrize("opset", [18, 19, 20])
def test_operator_sets_that_devices_read_stay(graph, conv, opset):
    model = graph([node("Conv", "x w b", "y")], conv, opset=opset)
    assert opset_of(clean(model)) == opset


def test_a_newer_operator_set_is_refused(graph, conv):
    with pytest.raises(StageError) as caught:
        clean(graph([node("Conv", "x w b", "y")], conv, opset=23))
    assert str(caught.value) == (
        "clean: an operator set that devices do not read\n"
        "  found: opset 23\n  expected: 18 to 20\n"
        "  fix: export the model again with opset_version=20"
    )


def test_an_operator_too_old_to_convert_is_refused(graph):
    with pytest.raises(StageError) as caught:
        clean(graph([node("Cast", "x", "y", to="FLOAT")], {}, opset=1, ir_version=3))
    lines = str(caught.value).splitlines()
    assert lines[0] == "clean: the graph cannot be brought from opset 1 to 18"
    assert "No Adapter" in lines[1]
    assert lines[2:] == ["  fix: export the model again with opset_version=20"]


def test_an_invalid_graph_is_refused(graph, conv):
    model = graph([node("Conv", "x w b", "y", colour=1)], conv, outputs={"y": ["N", 4, 7, 7]})
    with pytest.raises(StageError, match=r"^clean: the graph is not valid ONNX\n  found: "):
        clean(model)


@pytest.mark.parametrize("ir_version", [8, 10])
def test_versions_are_stamped(graph, conv, ir_version):
    model = graph([node("Conv", "x w b", "y")], conv)
    assert clean(model, ir_version=ir_version).ir_version == ir_version


def test_weights_among_the_inputs_become_constants(graph, same, conv, norm):
    """Files of before 2019 list them so; the runtime does not fold what can be replaced."""
    constants = {**conv, **norm}
    inputs = {"x": ["N", 3, 9, 9], **{name: list(v.shape) for name, v in constants.items()}}
    nodes = [node("Conv", "x w b", "c"), node("BatchNormalization", "c g be mu va", "y")]
    cleaned = same(graph(nodes, constants, inputs=inputs, ir_version=3))
    assert [each.name for each in cleaned.graph.input] == ["x"]
    assert [each.op_type for each in cleaned.graph.node] == ["Conv"]


def test_no_words_of_the_exporting_machine_remain(graph, conv):
    model = graph([node("Conv", "x w b", "c"), node("Relu", "c", "y")], conv)
    model.graph.value_info.append(helper.make_tensor_value_info("c", 1, ["N", 4, 7, 7]))
    model.doc_string = "/home/secret"
    model.metadata_props.add(key="k", value="/home/secret")
    body = model.graph
    parts = [body, *body.node, *body.input, *body.output, *body.value_info, *body.initializer]
    for part in parts:
        part.doc_string = "/home/secret"
        part.metadata_props.add(key="k", value="/home/secret")
    assert model.SerializeToString().count(b"secret") == 2 * (1 + len(parts))
    assert b"secret" not in clean(model).SerializeToString()


def test_cleaning_twice_is_cleaning_once(graph, same, conv, norm):
    nodes = [
        node("Pad", "x p", "q"),
        node("Conv", "q w b", "c"),
        node("BatchNormalization", "c g be mu va", "y"),
    ]
    once = same(graph(nodes, {**conv, **norm, "p": TF_PAD}))
    assert clean(once).SerializeToString() == once.SerializeToString()


def test_the_given_model_is_not_changed(graph, conv, norm):
    nodes = [node("Conv", "x w b", "c"), node("BatchNormalization", "c g be mu va", "y")]
    model = graph(nodes, {**conv, **norm})
    before = onnx.ModelProto()
    before.CopyFrom(model)
    clean(model)
    assert model == before
