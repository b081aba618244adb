"""A file that somebody else exported is taken when it is a float classifier, and else refused."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgetransfer.errors import StageError
from edgetransfer.tasks.classification.own.own import take

COUNT, CLASSES = 5, 4


def node(kind, inputs, output, **attributes):
    return helper.make_node(kind, inputs.split(), [output], **attributes)


def classifier(*middle, source="x", flat="flat", output="scores"):
    """A convolution, what makes its means flat, and a head."""
    return [
        node("Conv", f"{source} w b", "c"),
        node("GlobalAveragePool", "c", "means"),
        *(middle or [node("Flatten", "means", flat)]),
        node("Gemm", f"{flat} hw hb", output, transB=1),
    ]


def test_inputs_and_output_are_renamed(taken, saved, weights):
    model = taken(saved(classifier(), weights))
    shapes = [
        [size.dim_value or size.dim_param for size in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    ]
    assert shapes == [["batch", 3, 9, 9], ["batch", CLASSES]]


def test_the_file_itself_stays(taken, saved, weights):
    file = saved(classifier(), weights)
    before = file.read_bytes()
    taken(file)
    assert file.read_bytes() == before


@pytest.mark.parametrize("name", ["logits", "input"])
def test_an_inner_value_may_have_the_name_that_is_wanted(taken, saved, weights, name):
    taken(saved(classifier(flat=name), weights))


def test_a_weight_may_have_the_name_that_is_wanted(taken, saved, weights):
    nodes = [*classifier()[:-1], node("Gemm", "flat input logits", "scores", transB=1)]
    constants = {"w": weights["w"], "b": weights["b"]}
    taken(saved(nodes, {**constants, "input": weights["hw"], "logits": weights["hb"]}))


def test_a_branch_that_reads_the_input_reads_it_under_its_new_name(taken, saved, weights):
    def branch(kind):
        value = helper.make_tensor_value_info(kind, 1, None)
        return helper.make_graph([node(kind, "x", kind)], kind, [], [value])

    choice = helper.make_node(
        "If", ["which"], ["chosen"], then_branch=branch("Relu"), else_branch=branch("Neg")
    )
    average = node("ReduceMean", "x", "mean", keepdims=0)
    compare = node("Less", "mean zero", "which")
    constants = {**weights, "zero": np.float32(10)}
    taken(saved([average, compare, choice, *classifier(source="chosen")], constants))


def test_a_fixed_batch_of_one_is_freed(taken, saved, weights):
    kinds = {"inputs": {"x": [1, 3, 9, 9]}, "outputs": {"scores": [1, CLASSES]}}
    taken(saved(classifier(), weights, **kinds))


def test_shapes_written_down_for_one_example_are_not_believed(taken, saved, weights):
    """The optimiser would make constants of what the graph computes from them."""
    middle = [
        node("Shape", "means", "shape", start=0, end=1),
        node("Concat", "shape rest", "flat_shape", axis=0),
        node("Reshape", "means flat_shape", "flat"),
    ]
    kinds = {"inputs": {"x": [1, 3, 9, 9]}, "outputs": {"scores": [1, CLASSES]}}
    file = saved(classifier(*middle), {**weights, "rest": np.array([6])}, **kinds)
    model = onnx.shape_inference.infer_shapes(onnx.load(file))
    assert model.graph.value_info
    onnx.save(model, file)
    taken(file)


def test_only_the_first_output_is_kept(taken, saved, weights):
    outputs = {"scores": ["N", CLASSES], "chances": ["N", CLASSES]}
    taken(saved([*classifier(), node("Softmax", "scores", "chances")], weights, outputs=outputs))


def test_an_old_file_with_its_weights_among_the_inputs(taken, saved, weights):
    inputs = {"x": ["N", 3, 9, 9], **{name: list(v.shape) for name, v in weights.items()}}
    taken(saved(classifier(), weights, inputs=inputs, opset=11, ir_version=3))


def test_inputs_of_the_same_names_are_matched_by_name(graph, tmp_path, normal, run):
    """By order the mask and the ids would change places, and nothing would tell."""
    nodes = [node("Mul", "attention_mask two", "twice"), node("Sub", "input_ids twice", "scores")]
    inputs = {"attention_mask": ["N", CLASSES], "input_ids": ["N", CLASSES]}
    file = tmp_path / "mine.onnx"
    outputs = {"scores": ["N", CLASSES]}
    onnx.save(graph(nodes, {"two": np.float32(2)}, inputs=inputs, outputs=outputs), file)
    ids, mask = normal(1, CLASSES), np.ones((1, CLASSES), np.float32)
    model, _ = take(file, [{"input_ids": ids, "attention_mask": mask}], CLASSES)
    logits = run(model, input_ids=ids, attention_mask=mask)[0]
    np.testing.assert_allclose(logits, ids - 2 * mask, rtol=1e-5)


def test_a_file_for_texts_of_one_length(message, graph, tmp_path):
    nodes = [node("Mul", "attention_mask two", "twice"), node("Sub", "input_ids twice", "scores")]
    inputs = {"input_ids": ["N", CLASSES], "attention_mask": ["N", CLASSES]}
    file = tmp_path / "mine.onnx"
    outputs = {"scores": ["N", CLASSES]}
    onnx.save(graph(nodes, {"two": np.float32(2)}, inputs=inputs, outputs=outputs), file)
    long = {name: np.ones((1, CLASSES), np.float32) for name in inputs}
    short = {**long, "attention_mask": np.float32([[1, 1, 0, 0]])}
    lines = message(file, [long, short]).splitlines()
    assert lines[0] == f"{file}: the model does not run on what the contract prepares"
    assert lines[1].startswith("  found: [ONNXRuntimeError] : 2 : INVALID_ARGUMENT")
    assert lines[2:] == ["  fix: texts are of any length: export it with a free second axis"]


def test_a_file_that_is_no_onnx(message, tmp_path, batches):
    file = tmp_path / "mine.onnx"
    file.write_bytes(b"hello")
    lines = message(file, batches).splitlines()
    assert lines[0] == f"{file}: not a valid ONNX file"
    assert lines[1].startswith("  found: Error parsing message")
    assert len(lines) == 2


def test_a_quantised_model(message, saved, weights, batches):
    constants = {**weights, "s": np.float32(0.1), "z": np.uint8(128)}
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        *classifier(source="d"),
    ]
    file = saved(nodes, constants)
    assert message(file, batches) == (
        f"{file}: the model is quantised already\n"
        "  found: DequantizeLinear, QuantizeLinear\n"
        "  expected: the float model: the drop is measured against it"
    )


def test_another_number_of_classes(message, saved, weights, batches):
    file = saved(classifier(), weights)
    assert message(file, batches, 7) == (
        f"{file}: the first output is not one number a class\n  found: shape [4] for 7 labels"
    )


def test_another_number_of_inputs(message, saved, weights, batches):
    file = saved(classifier(), weights)
    two = [{**batch, "mask": batch["input"][:, :, 0]} for batch in batches]
    assert message(file, two) == (
        f"{file}: the inputs are not those of the contract\n"
        "  found: x ['N', 3, 9, 9]\n"
        "  expected: input [1, 3, 9, 9], mask [1, 3, 9]"
    )


def test_inputs_of_another_shape(message, saved, weights, normal):
    file = saved(classifier(), weights)
    assert message(file, [{"input": normal(1, 3, 9, 8)}]) == (
        f"{file}: the model takes pictures of another size than the contract prepares\n"
        "  found: x: tensor(float) ['N', 3, 9, 9]\n"
        "  expected: tensor(float) ['N', 3, 9, 8]\n"
        '  fix: set "exact" or "crop" in preprocess.json to the [height, width] of the model'
    )


def test_a_model_that_runs_on_one_example_only(message, saved, weights, batches):
    middle = [node("Reshape", "means shape", "flat")]
    kinds = {"inputs": {"x": [1, 3, 9, 9]}, "outputs": {"scores": [1, CLASSES]}}
    file = saved(classifier(*middle), {**weights, "shape": np.array([1, 6])}, **kinds)
    lines = message(file, batches).splitlines()
    assert lines[0] == f"{file}: the model runs on one example at a time only"
    assert lines[2:] == ["  fix: export it again with a dynamic first axis"]


def test_an_operator_that_the_runtime_does_not_know(message, graph, tmp_path, batches):
    model = graph([node("Foo", "x", "y", domain="mine")], {}, outputs={"y": ["N", CLASSES]})
    model.opset_import.append(helper.make_opsetid("mine", 1))
    file = tmp_path / "mine.onnx"
    onnx.save(model, file)
    assert message(file, batches) == (
        f"{file}: the model holds operators that are not standard ONNX\n"
        "  found: mine:Foo\n"
        "  expected: operators of the domain ai.onnx only, which every target's runtime has\n"
        "  fix: export the network alone, without what prepares its input or sorts its output"
    )


def test_an_operator_set_that_is_too_new(message, saved, weights, batches):
    file = saved(classifier(), weights, opset=23)
    assert message(file, batches, error=StageError).startswith(
        "clean: an operator set that devices do not read\n  found: opset 23\n"
    )


def test_weights_in_a_file_of_their_own(saved, weights, batches, run):
    """As torch exports it: the numbers of ``mine.onnx`` stand in ``mine.onnx.data``."""
    file = saved(classifier(), weights)
    whole = onnx.load(file)
    expected = run(whole, x=batches[0]["input"])[0]
    options = {"save_as_external_data": True, "location": "mine.onnx.data", "size_threshold": 0}
    onnx.save(whole, file, **options)
    assert (file.parent / "mine.onnx.data").stat().st_size > 0
    model, _ = take(file, batches, CLASSES)
    np.testing.assert_allclose(run(model, **batches[0])[0], expected, atol=1e-5)
