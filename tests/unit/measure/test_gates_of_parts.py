"""Gates of classes, calibration and speed: G9, G10, G11."""

import numpy as np
import pytest

from edgetransfer.measure import gates
from edgetransfer.measure.speed.latency import Ratio, Speedup
from edgetransfer.tasks.classification.judge.comparison import class_drops
from edgetransfer.tasks.classification.judge.gates import classes
from edgetransfer.tasks.classification.judge.metrics import Outcomes
from edgetransfer.tasks.classification.judge.shares import (
    BINS,
    Calibration,
    calibration,
    calibration_gate,
)


def drops(each, lost=0, won=0, classes=3):
    """Of classes with so many examples each, the first loses and wins some."""
    truth = np.repeat(np.arange(classes), each)
    reference, candidate = truth.copy(), truth.copy()
    candidate[:lost] = 1
    reference[lost : lost + won] = 1
    labels = ("ant", "bee", "wasp", "fly")[:classes]
    return class_drops(Outcomes(truth, reference, candidate, classes), labels)


@pytest.mark.parametrize(
    ("found", "status", "message", "needed"),
    [
        (
            drops(60),
            "PASS",
            "classes: 'ant' lost 0.0 pp of its recall on 60 examples (95 % bound 4.9 pp, the"
            " highest of all classes) of 5.0 pp allowed",
            None,
        ),
        (
            drops(60, lost=30),
            "FAIL",
            "classes: 'ant' lost 50.0 pp of its recall on 60 examples (95 % sure of over 35.8 pp,"
            " corrected for 3 classes) of 5.0 pp allowed",
            None,
        ),
        (
            drops(20),
            "INCONCLUSIVE",
            "classes: 'ant' lost 0.0 pp of its recall on 20 examples (95 % bound 13.9 pp, the"
            " highest of all classes) of 5.0 pp allowed; 59 examples of each class without a loss"
            " would bound it",
            177,
        ),
        ((), "INCONCLUSIVE", "classes: not judged, the examples have no labels", None),
    ],
)
def test_classes(found, status, message, needed):
    gate = classes(found, 5.0)
    assert (gate.message, gate.status, gate.examples_needed) == (message, status, needed)
    assert gate.decides


def test_a_class_is_decided_at_the_number_of_examples_that_was_said():
    gate = classes(drops(20), 5.0)
    assert classes(drops(gate.examples_needed // 3), 5.0).status == "PASS"
    assert classes(drops(gate.examples_needed // 3 - 1), 5.0).status == "INCONCLUSIVE"


def test_one_class_among_many_is_not_accused_by_chance():
    """Twenty classes that lose nothing in truth: one of them is called guilty at most 5 %."""
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(20), 40)
    guilty = 0
    for _ in range(200):
        flip = rng.random((2, len(truth))) < 0.08
        models = [np.where(each, (truth + 1) % 20, truth) for each in flip]
        found = class_drops(Outcomes(truth, *models, 20), [str(k) for k in range(20)])
        guilty += classes(found, 1e-9).status == "FAIL"
    assert guilty <= 17  # 97.5 % quantile of binomial(200, 0.05)


RNG = np.random.default_rng(0)


def told(n, classes=4):
    """Labels that are as likely as the logits say."""
    logits = RNG.normal(size=(n, classes)) * 2
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return (shares.cumsum(1) > RNG.random((n, 1))).argmax(1), logits


def ece(truth, logits):
    """Guo et al. (2017), equation 3, bin by bin."""
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right, sure = shares.argmax(1) == truth, shares.max(1)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    own = [bins == each for each in np.unique(bins)]
    return sum(abs(right[each].mean() - sure[each].mean()) * each.mean() for each in own)


def test_ece_of_a_model_that_knows_how_sure_it_is():
    truth, logits = told(20_000)
    assert ece(truth, logits) < 0.02
    assert ece(truth, 3 * logits) > 0.1  # too sure
    found = calibration(truth, logits, 3 * logits, seed=0)
    assert found.reference == pytest.approx(ece(truth, logits))
    assert found.candidate - found.reference <= found.change_ucb95
    assert 0.1 < found.loss_lcb95 < found.candidate - found.reference


@pytest.mark.parametrize("n", [150, 1000])
def test_few_examples_do_not_hide_a_change_and_do_not_make_one_up(n):
    """The candidate is too sure, by 0.04 of ECE in truth: the two bounds lie around that."""
    truth, logits = told(200_000)
    change = ece(truth, 1.2 * logits) - ece(truth, logits)
    assert change == pytest.approx(0.039, abs=0.006)
    over = under = 0
    for seed in range(40):
        truth, logits = told(n)
        found = calibration(truth, logits, 1.2 * logits, seed=seed)
        over += found.loss_lcb95 > change
        under += found.change_ucb95 < change
    assert max(over, under) <= 5  # 97.5 % quantile of binomial(40, 0.05)


@pytest.mark.parametrize(
    ("found", "status", "message", "needed"),
    [
        (
            Calibration(400, 0.03, 0.032, 0.009, -0.02),
            "PASS",
            "calibration: the error went from 0.030 to 0.032 (95 % bound of the change 0.009)"
            " of 0.02 allowed",
            None,
        ),
        (
            Calibration(400, 0.03, 0.09, 0.08, 0.04),
            "FAIL",
            "calibration: the error went from 0.030 to 0.090 (95 % sure of a loss over 0.040)"
            " of 0.02 allowed",
            None,
        ),
        (
            Calibration(60, 0.03, 0.031, 0.003, -0.02),
            "INCONCLUSIVE",
            "calibration: the error went from 0.030 to 0.031 (95 % bound of the change 0.003)"
            " of 0.02 allowed; 149 test examples would show it (there are 60)",
            149,
        ),
        (
            Calibration(400, 0.03, 0.045, 0.04, -0.01),
            "INCONCLUSIVE",
            "calibration: the error went from 0.030 to 0.045 (95 % bound of the change 0.040)"
            " of 0.02 allowed",
            None,
        ),
        ("no labels here", "INCONCLUSIVE", "calibration: no labels here", None),
    ],
)
def test_calibration(found, status, message, needed):
    gate = calibration_gate(found, 0.02)
    assert (gate.message, gate.status, gate.examples_needed) == (message, status, needed)


def speed(kind, ratio):
    return Speedup(Ratio(ratio, (ratio, ratio), kind, ""), Ratio(ratio, None, kind, ""), 24)


@pytest.mark.parametrize(
    ("speedup", "sizes", "status", "message"),
    [
        (
            speed("FASTER", 1.8),
            (4, 1),
            "PASS",
            "w8a8 is 1.80 x as fast as floats here, and 4.0 x smaller",
        ),
        (
            speed("SAME", 1.0),
            (4, 1),
            "PASS",
            "w8a8 is as fast as floats here, and 4.0 x smaller",
        ),
        (
            speed("SAME", 1.0),
            (3, 2),
            "FAIL",
            "w8a8 is as fast as floats here, and 1.5 x smaller: --precision fp32 may serve better",
        ),
        (
            speed("SLOWER", 0.8),
            (4, 1),
            "FAIL",
            "w8a8 is 1.25 x slower than floats here, and 4.0 x smaller: --precision fp32 may serve"
            " better",
        ),
        (
            speed("SLOWER", 0.8),
            (4 * 2**20, 2**20),
            "FAIL",
            "w8a8 is 1.25 x slower than floats here, and 4.0 x smaller: floats would not fit"
            " 2.0 MiB",
        ),
        (
            speed("UNDECIDED", 1.01),
            (4, 1),
            "INCONCLUSIVE",
            "w8a8 is undecided whether faster than floats here, and 4.0 x smaller",
        ),
        (None, (4, 1), "NOT RUN", "not timed in this run"),
    ],
)
def test_performance_recommends_floats_where_they_serve_better(speedup, sizes, status, message):
    gate = gates.performance(speedup, "w8a8", sizes, 2.0)
    assert (gate.message, gate.status) == (f"performance: {message}", status)
    assert not gate.decides


def test_floats_need_not_be_faster_than_themselves():
    gate = gates.performance(speed("SAME", 1.0), "fp32", (4, 4), None)
    assert (gate.status, gate.message) == ("NOT RUN", "performance: floats are shipped")
