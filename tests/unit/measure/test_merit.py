"""Gates of how good the shipped model is by itself, and of what examples may show."""

import numpy as np
import pytest

from edgetransfer.measure.sample import Sample, draw
from edgetransfer.spec.budget import Budget
from edgetransfer.tasks.classification.judge import gates
from edgetransfer.tasks.classification.judge.metrics import Outcomes

LABELS = ("ant", "bee")


def outcomes(n=100, wrong=0, share=0.5):
    """The shipped model is wrong on the first of each class in turn."""
    truth = (np.arange(n) >= round(share * n)).astype(int)
    candidate = truth.copy()
    order = np.argsort(np.arange(n) % (n // 2), kind="stable")
    candidate[order[:wrong]] = 1 - truth[order[:wrong]]
    return Outcomes(truth, truth, candidate, 2)


@pytest.mark.parametrize(
    ("found", "status", "decides", "message"),
    [
        (
            outcomes(wrong=10),
            "PASS",
            True,
            "chance: the shipped model is right on 90.0 %; always answering 'ant' is 50.0 %",
        ),
        (
            outcomes(wrong=78),
            "FAIL",
            True,
            "chance: the shipped model is right on 22.0 %; always answering 'ant' is 50.0 %: it"
            " learnt nothing that these examples show, or the labels are not in the order of its"
            " outputs",
        ),
        (
            outcomes(n=8, wrong=2),
            "INCONCLUSIVE",
            False,
            "chance: the shipped model is right on 75.0 %; always answering 'ant' is 50.0 %: 8"
            " examples do not show that it is better",
        ),
        (outcomes(share=1.0), "NOT RUN", False, "chance: all labels are of one class"),
    ],
)
def test_a_model_has_to_be_better_than_the_commonest_class(found, status, decides, message):
    """A2: the gate decided nothing."""
    gate = gates.chance(found, LABELS, "top1", seed=0)
    assert (gate.status, gate.decides, gate.message) == (status, decides, message)


RECORD = {
    "accuracy": {"metric": "top1", "candidate": 0.9},
    "per_class": [
        {"label": "ant", "n": 60, "recall_candidate": 1.0},
        {"label": "bee", "n": 40, "recall_candidate": 0.75},
        {"label": "never", "n": 0, "recall_candidate": None},
    ],
}


def test_what_is_recorded_is_right_by_class():
    record = gates.written_record(RECORD)
    assert record["by_class"] == {"ant": [60, 60], "bee": [30, 40]}
    assert (record["n"], record["accuracy"]) == (100, 0.9)
    assert gates.written_record(RECORD | {"examples": {"counts": False}}) is None


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (outcomes(wrong=6), "PASS"),
        (outcomes(wrong=16), "PASS"),
        (outcomes(wrong=30), "FAIL"),
        (outcomes(share=0.0, wrong=25), "PASS"),  # bees alone are hard: no reason
        (outcomes(share=1.0, wrong=12), "FAIL"),  # ants never were
    ],
)
def test_significantly_worse_than_recorded_fails_class_by_class(found, status):
    """A2."""
    gate = gates.recorded(found, LABELS, gates.written_record(RECORD))
    assert (gate.status, gate.decides) == (status, True)


def test_classes_that_the_build_had_not_cannot_be_compared():
    record = gates.written_record(RECORD)
    assert gates.recorded(outcomes(), ("wasp", "fly"), record).status == "NOT RUN"


@pytest.mark.parametrize(
    ("budget", "found", "status", "message"),
    [
        (
            Budget(min_accuracy=0.8),
            outcomes(wrong=10),
            "PASS",
            "min-accuracy: accuracy 90.0 % (95 % sure of at least 83.6 %), 80.0 % demanded",
        ),
        (
            Budget(min_accuracy=0.97),
            outcomes(wrong=10),
            "FAIL",
            "min-accuracy: accuracy 90.0 % (95 % sure of at most 94.5 %), 97.0 % demanded",
        ),
        (
            Budget(min_accuracy=0.88),
            outcomes(wrong=10),
            "INCONCLUSIVE",
            "min-accuracy: accuracy 90.0 % (95 % sure of at least 83.6 %), 88.0 % demanded; about"
            " 750 test examples at this rate would decide (there are 100)",
        ),
        (
            Budget(min_recall={"bee": 0.9}),
            outcomes(),
            "PASS",
            "min-recall: recall of 'bee' 100.0 % (95 % sure of at least 94.2 %), 90.0 % demanded",
        ),
        (
            Budget(min_accuracy=0.5),
            None,
            "INCONCLUSIVE",
            "min-accuracy: not judged, the examples have no labels; 50.0 % demanded",
        ),
        (
            Budget(min_macro_f1=0.9),
            outcomes(),
            "PASS",
            "min-macro-f1: 1.000 (95 % sure of at least 0.970), 0.9 demanded",
        ),
        (
            Budget(min_macro_f1=0.99),
            outcomes(),
            "INCONCLUSIVE",
            "min-macro-f1: 1.000 (95 % sure of at least 0.970), 0.99 demanded",
        ),
    ],
)
def test_floors_are_judged_by_bounds(budget, found, status, message):
    """A2: there were none."""
    (gate,) = gates.floors(found, LABELS, budget, seed=0)
    assert (gate.status, gate.message) == (status, message)
    assert gate.decides


def test_floors_of_classes_may_be_written_as_on_the_command_line():
    assert Budget(min_recall=("a=b=0.5", "c=0.25")).min_recall == {"a=b": 0.5, "c": 0.25}


def test_where_nothing_is_new_all_is_measured_and_nothing_counts():
    """A3."""
    places, sample = draw(["a", "b", "a"], [0, 1, 0], {"a", "b"})
    assert places == [0, 1]
    assert sample == Sample(3, 2, 0, 2, 2, counts=False)
    places, sample = draw(["a", "a"], [0, 1], ())
    assert (places, sample.counts, sample.why_not()) == (
        [0],
        False,
        "all 1 contents have more than one label",
    )
