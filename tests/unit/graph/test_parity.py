"""The export gate lets through what is the same and nothing else."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetransfer.agent.outputs import Outputs
from edgetransfer.errors import StageError
from edgetransfer.graph import hosted as gate
from edgetransfer.graph.hosted import alone
from edgetransfer.tasks.classification.judge.metrics import changed_outputs


def parity(expected, model, inputs, span=None, changed=None):
    (name,) = [each.name for each in model.graph.output]
    spans = span and {name: span}
    return gate.parity(Outputs({name: expected}), model, inputs, spans, changed)


@pytest.fixture
def expected(traced, pictures, run):
    return run(traced, input=pictures)[0]


def test_the_same_graph_passes(traced, pictures, expected):
    record = parity(expected, traced, {"input": pictures}, changed=changed_outputs)
    assert record == {
        "max_abs": 0.0,
        "range": float(np.ptp(expected)),
        "min_cosine": pytest.approx(1.0),
        "n": 4,
        "flips": 0,
    }
    assert "flips" not in parity(expected, traced, {"input": pictures})  # nothing is decided


def test_a_difference_may_be_held_against_another_range(traced, pictures, expected):
    """One example alone may have logits that hardly differ from each other."""
    span = float(np.ptp(expected))
    one, inputs = expected[:1] + 5e-4 * span, {"input": pictures[:1]}
    assert parity(one, traced, inputs, 2 * span)["range"] == 2 * span
    with pytest.raises(StageError):
        parity(one, traced, inputs, 0.1 * span)


def test_outputs_that_are_all_zero_are_the_same_too(graph, normal):
    zero = graph(
        [onnx.helper.make_node("Mul", ["x", "nought"], ["y"])],
        {"nought": np.float32(0)},
        inputs={"x": ["N", 4]},
    )
    assert parity(np.zeros((3, 4), np.float32), zero, {"x": normal(3, 4)})["max_abs"] == 0


def test_a_changed_weight_is_found(traced, pictures, expected):
    changed = onnx.ModelProto()
    changed.CopyFrom(traced)
    weight = max(changed.graph.initializer, key=lambda each: np.prod(each.dims))
    values = numpy_helper.to_array(weight) * 1.1
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    with pytest.raises(StageError) as caught:
        parity(expected, changed, {"input": pictures})
    lines = str(caught.value).splitlines()
    assert lines[0] == "trace: the exported graph does not compute what the network computes"
    limit = 1e-3 * float(np.ptp(expected))
    assert lines[2] == f"  expected: at most {limit:.3g} and at least 0.9999"


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: -rows,
        lambda rows: rows[::-1],
        lambda rows: rows + 0.01,
        lambda rows: 1.01 * rows,
    ],
    ids=["sign", "order", "offset", "scale"],
)
def test_other_outputs_are_refused(traced, pictures, expected, change):
    with pytest.raises(StageError, match="does not compute what the network computes"):
        parity(change(expected), traced, {"input": pictures})


def test_what_is_no_number_is_refused(traced, pictures, expected):
    spoilt = pictures.copy()
    spoilt[0, 0, 0, 0] = np.nan
    with pytest.raises(StageError, match="found: largest difference nan, "):
        parity(expected, traced, {"input": spoilt})


def test_the_shortest_text_alone_has_no_padding():
    ids = np.arange(1, 13).reshape(3, 4)
    mask = np.array([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 1, 0]])
    one = alone({"input_ids": ids, "attention_mask": mask})
    assert list(one) == ["input_ids", "attention_mask"]
    np.testing.assert_array_equal(one["input_ids"], [[5, 6]])
    np.testing.assert_array_equal(one["attention_mask"], [[1, 1]])


def test_one_picture_alone(pictures):
    (one,) = alone({"input": pictures}).values()
    np.testing.assert_array_equal(one, pictures[:1])
