"""Files that end in shares, that are laid out in another way, or that are no float reference."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgetransfer.tasks.classification.own.own import take
from edgetransfer.tasks.classification.own.softmax import with_logits

CLASSES = 4


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


def softmax(rows):
    powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def into_shares(*steps, inner="scores"):
    """A classifier whose scores go through steps; the last one's output is ``y``."""
    return [*classifier(output=inner), *steps]


ENDINGS = {
    "softmax": [node("Softmax", "scores", "y", axis=1)],
    "log softmax": [node("LogSoftmax", "scores", "y", axis=-1)],
    "reshaped": [
        node("Softmax", "scores", "s"),
        node("Identity", "s", "i"),
        node("Flatten", "i", "y"),
    ],
    "in words": [
        node("ReduceMax", "scores", "m", axes=[1]),
        node("Sub", "scores m", "d"),
        node("Exp", "d", "e"),
        node("ReduceSum", "e one", "t"),
        node("Div", "e t", "y"),
    ],
    "logarithm": [node("Softmax", "scores", "s"), node("Log", "s", "y")],
    "powers": [node("LogSoftmax", "scores", "s"), node("Exp", "s", "y")],
    "per cent": [node("Softmax", "scores", "s"), node("Mul", "s hundred", "y")],
    "unknown": [node("Softmax", "scores", "s"), node("Mul", "s ones", "y")],
}  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS)
def test_c2_a_softmax_is_not_taken_twice(saved, weights, batches, run, ending):
    """Fault C2: what is made of logits is left out, or its logarithm is taken."""
    constants = {"one": np.array([1]), "hundred": np.float32(100), "ones": np.float32([[1] * 4])}
    file = saved(
        into_shares(*ENDINGS[ending]), {**weights, **constants}, outputs={"y": ["N", CLASSES]},
        opset=13,
    )  # fmt: skip
    said = np.concatenate([run(onnx.load(file), x=each["input"])[0] for each in batches])
    model, record = take(file, batches, CLASSES)
    joined = np.concatenate([batch["input"] for batch in batches])
    logits = run(model, input=joined)[0]
    shares = said if ending != "log softmax" and ending != "logarithm" else np.exp(said)
    shares = shares / shares.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(softmax(logits), shares, atol=1e-5)
    assert np.ptp(logits, axis=1).min() > 0.1
    assert [value.name for value in model.graph.output] == ["logits"]
    assert "Softmax" not in {each.op_type for each in model.graph.node} or ending in (
        "per cent", "unknown",
    )  # fmt: skip
    assert record["notes"] == [
        {
            "softmax": "the file ends in Softmax: the logits before it are taken",
            "log softmax": "the file ends in LogSoftmax: the logits before it are taken",
            "reshaped": "the file ends in Softmax: the logits before it are taken",
            "in words": "the file ends in Sub and Exp and Div: the logits before it are taken",
            "logarithm": "the file ends in Softmax and Log: the logits before it are taken",
            "powers": "the file ends in LogSoftmax and Exp: the logits before it are taken",
        }.get(ending, "the file gives shares, not logits: their logarithms are taken")
    ]


LENGTH = [
    node("ReduceL2", "scores", "n", axes=[1]),
    node("Clip", "n", "length"),
    node("Div", "scores length", "y"),
]


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([node("Sigmoid", "scores", "y")], "Sigmoid"),
        ([node("LpNormalization", "scores", "y", axis=1)], "LpNormalization"),
        (LENGTH, "Div"),
        (
            [
                *LENGTH[:2],
                node("Shape", "x", "rows", start=0, end=1),
                node("Concat", "rows four", "wide", axis=0),
                node("Expand", "length wide", "lengths"),
                node("Div", "scores lengths", "y"),
            ],
            "Div",
        ),
    ],
)
def test_c2_what_answers_for_each_class_apart(saved, weights, batches, run, steps, name):
    """Fault C2: the order of the classes stays, and the note says what a share is of."""
    constants = {**weights, "four": np.array([CLASSES])}
    file = saved(into_shares(*steps), constants, outputs={"y": ["N", CLASSES]}, opset=17)
    said = np.concatenate([run(onnx.load(file), x=each["input"])[0] for each in batches])
    model, record = take(file, batches, CLASSES)
    logits = run(model, input=np.concatenate([batch["input"] for batch in batches]))[0]
    assert (logits.argmax(axis=1) == said.argmax(axis=1)).all()
    assert {each.op_type for each in model.graph.node}.isdisjoint({name})
    assert record["notes"] == [
        f"the file ends in {name}, which answers for each class apart: the numbers before it are "
        "taken as logits, and shares are of their softmax"
    ]


@pytest.mark.parametrize(
    "ending", [name for name in ENDINGS if name not in ("unknown", "per cent")]
)
def test_the_logits_told_are_those_of_the_graph_told(saved, weights, batches, run, ending):
    outputs = {"y": ["N", CLASSES]}
    constants = {"one": np.array([1]), "hundred": np.float32(100), "ones": np.float32([[1] * 4])}
    constants |= weights
    model = onnx.load(saved(into_shares(*ENDINGS[ending]), constants, outputs=outputs, opset=13))
    rows = [{"x": batch["input"]} for batch in batches]
    said = np.concatenate([run(model, **row)[0] for row in rows])
    shortened, logits, notes = with_logits(model, said, rows)
    again = np.concatenate([run(shortened, **row)[0] for row in rows])
    np.testing.assert_allclose(again, logits, atol=1e-5)
    assert len(notes) == 1


def test_logits_are_taken_as_they_are(saved, weights, batches):
    """No note, and a product with a sigmoid in it is no ending."""
    gate = [node("Sigmoid", "scores", "s"), node("Mul", "scores s", "y")]
    file = saved(into_shares(*gate), weights, outputs={"y": ["N", CLASSES]})
    model, record = take(file, batches, CLASSES)
    assert "notes" not in record
    assert model.graph.node[-1].op_type == "Mul"


@pytest.mark.parametrize("leading", [True, False])
def test_d6_channels_last(saved, weights, batches, run, leading):
    """Fault D6: a picture input with its channels last is turned, not refused."""
    turn = node("Transpose", "x", "t", perm=[0, 3, 1, 2])
    nodes = [turn, *classifier(source="t")] if leading else [
        node("Mul", "x two", "m"), node("Transpose", "m", "t", perm=[0, 3, 1, 2]),
        *classifier(source="t"),
    ]  # fmt: skip
    file = saved(nodes, {**weights, "two": np.float32(2)}, inputs={"x": ["N", 9, 9, 3]})
    model, record = take(file, batches, CLASSES)
    first = batches[0]["input"]
    expected = run(onnx.load(file), x=np.moveaxis(first, 1, 3))[0]
    np.testing.assert_allclose(run(model, input=first)[0], expected, atol=1e-5)
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [0, 3, 9, 9]
    assert record["notes"] == [
        "the file takes pictures with the channels last: they are turned in the graph"
    ]


@pytest.mark.parametrize(
    ("shape", "first", "fix"),
    [
        (
            ["N", 1, 9, 9],
            "the model takes grey pictures, and the contract prepares red, green and blue",
            "put the conversion to grey into the file, before its first layer",
        ),
        (
            ["N", 9, 9, 1],
            "the model takes grey pictures, and the contract prepares red, green and blue",
            "put the conversion to grey into the file, before its first layer",
        ),
        (
            [8, 3, 9, 9],
            "the model takes 8 examples at a time only",
            "export it again with a dynamic first axis",
        ),
        (
            ["N", 4, 9, 9],
            "the model takes 4 channels, and the contract prepares 3",
            "export the classifier of pictures with an input of red, green and blue",
        ),
        (
            ["N", 243],
            "the model's input has another number of axes than the contract prepares",
            "export the classifier with one axis for the examples",
        ),
    ],
)
def test_d6_inputs_that_cannot_be_fed(message, saved, batches, shape, first, fix):
    """Fault D6: each has a message of its own, before the runtime speaks."""
    nodes = [node("ReduceMean", "x", "m", keepdims=0), node("Expand", "m like", "scores")]
    file = saved(nodes, {"like": np.array([1, CLASSES])}, inputs={"x": shape})
    wanted = "['N', 3, 9, 9]"
    assert message(file, batches) == (
        f"{file}: {first}\n  found: x: tensor(float) {shape}\n"
        f"  expected: tensor(float) {wanted}\n  fix: {fix}"
    )


def test_d6_outputs_that_are_no_numbers(message, saved, weights, batches):
    """Fault D6: NaN was told as a fault of the export."""
    nodes = [*classifier(output="z"), node("Sub", "z z", "0"), node("Div", "0 0", "scores")]
    file = saved(nodes, weights)
    assert message(file, batches) == (
        f"{file}: the model's outputs are not numbers\n"
        "  found: NaN for 5 of 5 examples\n"
        "  fix: look for a division by zero, or for weights that are NaN, in the model itself"
    )


@pytest.mark.parametrize(
    ("extra", "found"),
    [
        ([node("Dropout", "z ratio yes", "scores")], "Dropout in training mode"),
        (
            [node("RandomNormalLike", "z", "noise"), node("Add", "z noise", "scores")],
            "RandomNormalLike",
        ),
    ],
)
def test_d6_what_chance_decides(message, saved, weights, batches, extra, found):
    """Fault D6: a network exported while it was being trained."""
    constants = {**weights, "ratio": np.float32(0.5), "yes": np.array(True)}
    file = saved([*classifier(output="z"), *extra], constants)
    assert message(file, batches) == (
        f"{file}: the model does not give the same answer twice, or not for one example as for "
        f"many\n  found: {found}\n"
        "  fix: call model.eval() and export it again, with training=TrainingMode.EVAL"
    )


def test_a_dropout_at_rest_is_taken(taken, saved, weights):
    constants = {**weights, "ratio": np.float32(0.5), "no": np.array(False)}
    taken(saved([*classifier(output="z"), node("Dropout", "z ratio no", "scores")], constants))


@pytest.mark.parametrize("operator", ["MatMulNBits", "FusedConv", "DynamicQuantizeMatMul"])
def test_c4_operators_of_one_runtime(message, saved, weights, batches, operator):
    """Fault C4: an optimised or 4-bit file was taken for a float reference, in branches too."""
    domain = "com.microsoft"
    branch = helper.make_graph(
        [node(operator, "z w", "o", domain=domain)],
        "b",
        [],
        [helper.make_empty_tensor_value_info("o")],
    )
    nodes = [
        *classifier(output="z"),
        node("If", "yes", "scores", then_branch=branch, else_branch=branch),
    ]
    file = saved(nodes, {**weights, "yes": np.array(True)})
    model = onnx.load(file)
    model.opset_import.append(helper.make_opsetid(domain, 1))
    onnx.save(model, file)
    assert message(file, batches) == (
        f"{file}: the model holds operators that are not standard ONNX\n"
        f"  found: com.microsoft:{operator}\n"
        "  expected: operators of the domain ai.onnx only, which every target's runtime has\n"
        "  fix: export the float model without optimising or quantising it: a file that ONNX "
        "Runtime optimised or quantised is for the machine and the runtime that it was made on"
    )


def test_c4_a_file_that_the_runtime_optimised_for_this_machine(
    message, saved, weights, batches, tmp_path
):
    """Fault C4, on what ONNX Runtime really writes: its blocked convolutions."""
    import onnxruntime

    wide = {"w": np.ones((16, 3, 3, 3), np.float32), "b": np.ones(16, np.float32)}
    wide |= {"hw": np.ones((CLASSES, 16), np.float32), "hb": weights["hb"]}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(str(saved(classifier(), wide)), options)
    found = {each.domain for each in onnx.load(tmp_path / "optimised.onnx").graph.node}
    if found <= {""}:
        pytest.skip("this machine's runtime optimises to standard operators")
    text = message(tmp_path / "optimised.onnx", batches)
    assert "the model holds operators that are not standard ONNX" in text


def test_c4_functions_that_the_file_spells_itself(taken, saved, weights):
    """torch's exporter leaves such: they are standard operators under a name."""
    function = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [node("Add", "a a", "b")], [helper.make_opsetid("", 20)]
    )
    file = saved([*classifier(output="z"), node("Twice", "z", "scores", domain="mine")], weights)
    model = onnx.load(file)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    model.functions.append(function)
    onnx.save(model, file)
    taken(file)


def test_d6_dynamic_quantisation(message, saved, weights, batches):
    """Fault D6: integers under other names than Q and DQ."""
    nodes = [
        *classifier(output="z"),
        node("MatMulInteger", "q8 w8", "i"),
        node("Cast", "i", "f", to=1),
        node("Add", "z f", "scores"),
    ]
    constants = {"q8": np.ones((1, 99), np.uint8), "w8": np.ones((99, CLASSES), np.int8)}
    file = saved(nodes, {**weights, **constants})
    assert message(file, batches) == (
        f"{file}: the model is quantised already\n"
        "  found: MatMulInteger, weights of INT8, weights of UINT8\n"
        "  expected: the float model: the drop is measured against it"
    )


def test_one_output_for_two_classes(message, saved, weights, batches):
    constants = {**weights, "hw": weights["hw"][:1], "hb": weights["hb"][:1]}
    nodes = [*classifier(output="z"), node("Sigmoid", "z", "scores")]
    file = saved(nodes, constants, outputs={"scores": ["N", 1]})
    assert message(file, batches, 2) == (
        f"{file}: the first output is not one number a class\n"
        "  found: shape [1] for 2 labels\n"
        "  fix: end the network in two outputs, one a class: of a single output z before its "
        "sigmoid they are 0 and z"
    )


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
            "a pointer of Git LFS, not the file: run `git lfs pull`",
        ),
        (b"\n<!DOCTYPE html><html>", "a web page: download the file itself"),
    ],
)
def test_d6_what_stands_in_place_of_the_file(tmp_path, message, batches, content, found):
    """Fault D6: a parsing error of protobuf."""
    file = tmp_path / "mine.onnx"
    file.write_bytes(content)
    assert message(file, batches) == f"{file}: not a readable ONNX file\n  found: {found}"
