import numpy as np
import pytest
from sklearn import metrics as sk

from edgetransfer.tasks.classification.judge.metrics import (
    METRICS,
    Outcomes,
    balanced_accuracy,
    confusion,
    decisions,
    macro_f1,
    per_class,
    top1,
)


@pytest.fixture
def labelled():
    rng = np.random.default_rng(0)
    truth = rng.integers(4, size=200)
    return truth, np.where(rng.random(200) < 0.8, truth, rng.integers(5, size=200))


def test_metrics_agree_with_scikit_learn(labelled):
    truth, decided = labelled
    present = np.unique(truth)
    assert top1(truth, decided, 5) == pytest.approx(sk.accuracy_score(truth, decided))
    expected = sk.recall_score(truth, decided, labels=present, average="macro")
    assert balanced_accuracy(truth, decided, 5) == pytest.approx(expected)
    expected = sk.f1_score(truth, decided, labels=present, average="macro")
    assert macro_f1(truth, decided, 5) == pytest.approx(expected)
    np.testing.assert_array_equal(
        confusion(truth, decided, 5), sk.confusion_matrix(truth, decided, labels=range(5))
    )


@pytest.mark.parametrize("metric", METRICS)
def test_perfect_decisions_score_one_and_no_decision_scores_none(metric):
    truth = np.array([0, 1, 1, 3])
    assert METRICS[metric](truth, truth, 4) == 1
    assert METRICS[metric](truth, np.full(4, -1), 4) == 0


def test_a_row_that_is_not_finite_decides_nothing():
    logits = np.array([[1, 2], [np.inf, 0], [0, np.nan], [3, 3]], np.float32)
    assert decisions(logits).tolist() == [1, -1, -1, 0]


def test_pairs_count_who_alone_is_right():
    truth = np.array([0, 0, 0, 1, 1])
    pairs = Outcomes(truth, np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 1]), 2).pairs()
    assert (pairs.reference_only, pairs.candidate_only, pairs.n) == (1, 2, 5)


def test_per_class_finds_the_class_that_suffers():
    truth = np.repeat([0, 1, 3], 40)
    candidate = truth.copy()
    candidate[40:52] = 0
    rows = per_class(Outcomes(truth, truth, candidate, 4), ["a", "b", "c", "d"])
    assert [(r.label, r.n, r.change_pp) for r in rows] == [
        ("a", 40, 0.0),
        ("b", 40, -30.0),
        ("c", 0, None),
        ("d", 40, 0.0),
    ]
    assert rows[1].p_holm == pytest.approx(3 * 2 * 0.5**12)
    assert (rows[0].p_holm, rows[2].p_holm) == (1.0, None)
    assert (rows[1].recall_reference, rows[1].recall_candidate) == (1.0, 0.7)


def test_labels_outside_the_classes_are_refused():
    with pytest.raises(ValueError, match=r".") as caught:
        Outcomes(np.array([0, 2]), np.array([0, 1]), np.array([0, 1]), 2)
    assert str(caught.value) == "labels reach from 0 to 2, expected 0 to 1"
