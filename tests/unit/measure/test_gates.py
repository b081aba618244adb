import json
from math import inf, nan

import numpy as np
import pytest

from edgetransfer.measure import gates
from edgetransfer.measure.drift import Drift
from edgetransfer.measure.speed.latency import Samples, summarise
from edgetransfer.measure.stats.intervals import clopper_pearson_lower, clopper_pearson_upper
from edgetransfer.tasks.classification.judge.comparison import compare
from edgetransfer.tasks.classification.judge.gates import accuracy
from edgetransfer.tasks.classification.judge.metrics import Outcomes
from edgetransfer.tasks.classification.judge.shares import Divergence, kl


def compared(n, lost=0, won=0, classes=3, metric="top1"):
    """A comparison with so many examples that only one of the two gets right."""
    truth = np.arange(n) % classes
    reference, candidate = truth.copy(), truth.copy()
    candidate[:lost] = (truth[:lost] + 1) % classes
    reference[lost : lost + won] = (truth[lost : lost + won] + 1) % classes
    return compare(Outcomes(truth, reference, candidate, classes), metric, seed=0)


def drifted(n=153, flips=0, sqnr_db=30.0, non_finite=0):
    bounds = clopper_pearson_lower(flips, n), clopper_pearson_upper(flips, n)
    return Drift(n, 1 - flips / n, flips, *bounds, sqnr_db, 0.99, non_finite)


def diverged(n=153, kl=(0.004, 0.003, 0.005)):
    return Divergence(n, *kl)


def timed(n, ms=10.0):
    wall = (ms * 1e6 * (1 + np.arange(n) / 1000)).astype(np.int64)
    return summarise(Samples(np.zeros(n), np.zeros(n), wall, wall))


@pytest.mark.parametrize(
    ("comparison", "max_drop_pp", "status", "message"),
    [
        (
            compared(200),
            2.0,
            "PASS",
            "accuracy: quantising costs at most 1.5 pp of accuracy (95 % bound), limit 2.0 pp;"
            " lost 0.00 pp on 200 examples",
        ),
        (
            compared(1000, won=12),
            0.25,
            "PASS",
            "accuracy: quantising costs no accuracy: it gains at least 0.7 pp (95 % bound), limit"
            " 0.25 pp; gained 1.20 pp on 1000 examples",
        ),
        (
            compared(149),
            2.0,
            "PASS",
            "accuracy: quantising costs at most 1.99 pp of accuracy (95 % bound), limit 2.0 pp;"
            " lost 0.00 pp on 149 examples",
        ),
        (
            compared(100, lost=15),
            2.0,
            "FAIL",
            "accuracy: lost 15.00 pp (95 % sure of over 9.4 pp) of 2.0 pp allowed",
        ),
        (
            compared(60),
            2.0,
            "INCONCLUSIVE",
            "accuracy: 60 examples bound a drop at 4.9 pp at best;"
            " 149 without a flip would bound it under 2.0 pp",
        ),
        (
            compared(153, lost=1),
            2.0,
            "INCONCLUSIVE",
            "accuracy: lost 0.65 pp (95 % bound 3.1 pp) of 2.0 pp allowed;"
            " about 390 test examples at this rate of changes would decide (there are 153)",
        ),
        (
            compared(100, lost=2),
            2.0,
            "INCONCLUSIVE",
            "accuracy: lost 2.00 pp (95 % bound 6.2 pp) of 2.0 pp allowed;"
            " no number of test examples decides at this rate of changes (there are 100)",
        ),
        (
            compared(61, metric="macro-f1"),
            2.0,
            "INCONCLUSIVE",
            "accuracy: 61 examples (worth 60: the smallest class decides) bound a drop at 4.9 pp"
            " at best; 152 without a flip would bound it under 2.0 pp",
        ),
        (None, 2.0, "NOT RUN", "accuracy: not judged, the examples have no labels"),
    ],
)
def test_accuracy(comparison, max_drop_pp, status, message):
    gate = accuracy(comparison, max_drop_pp)
    assert gate.message == message
    assert (gate.status, gate.decides, gate.limit, gate.unit) == (status, True, max_drop_pp, "pp")


def test_the_number_of_examples_needed_stands_in_the_gate():
    assert accuracy(compared(60), 2.0).examples_needed == 149
    assert accuracy(compared(200), 2.0).examples_needed is None


@pytest.mark.parametrize("lost", [0, 1, 5])
def test_a_limit_is_decided_at_the_number_of_examples_that_was_said(lost):
    n = 40 + 40 * lost
    small = accuracy(compared(n, lost=lost), 3.0)
    assert small.status == "INCONCLUSIVE"
    factor = -(-small.examples_needed // n)
    assert accuracy(compared(factor * n, lost=factor * lost), 3.0).status == "PASS"


@pytest.mark.parametrize(
    ("summary", "invalid", "status", "message"),
    [
        (timed(100), (), "PASS", "latency: p90 10.89 ms [10.83, 10.95] of 15.0 ms allowed"),
        (timed(100, 20), (), "FAIL", "latency: p90 21.78 ms [21.66, 21.90] of 15.0 ms allowed"),
        (
            timed(100, 13.8),
            (),
            "INCONCLUSIVE",
            "latency: p90 15.03 ms [14.95, 15.11] of 15.0 ms allowed",
        ),
        (
            timed(20),
            (),
            "INCONCLUSIVE",
            "latency: p90 10.17 ms of 15.0 ms allowed; its interval needs 36 samples, there are 20",
        ),
        (
            timed(100),
            ("under qemu", "1 of 8 blocks throttled"),
            "INCONCLUSIVE",
            "latency: p90 10.89 ms of 15.0 ms allowed,"
            " but not valid: under qemu; 1 of 8 blocks throttled",
        ),
        (None, (), "INCONCLUSIVE", "latency: not measured, of 15.0 ms allowed"),
    ],
)
def test_latency(summary, invalid, status, message):
    gate = gates.latency(summary, 15.0, invalid)
    assert (gate.message, gate.status, gate.decides) == (message, status, True)


def test_size_is_exact():
    at, over = gates.size(4 * 2**20, 4.0), gates.size(4 * 2**20 + 1, 4.0)
    assert (at.status, at.message) == ("PASS", "size: 4.00 MiB of 4.0 MiB allowed")
    assert (over.status, over.message) == ("FAIL", "size: 4.000001 MiB of 4.0 MiB allowed")


@pytest.mark.parametrize(
    ("drift", "status", "message"),
    [
        (
            drifted(300),
            "PASS",
            "flips: 0 of 300 decisions changed (95 % bound 1.0 %) of 2.0 % allowed",
        ),
        (
            drifted(100, 12),
            "FAIL",
            "flips: 12 of 100 decisions changed (95 % sure of over 7.1 %) of 2.0 % allowed",
        ),
        (
            drifted(153, 1),
            "INCONCLUSIVE",
            "flips: 1 of 153 decisions changed (95 % bound 3.1 %) of 2.0 % allowed;"
            " about 320 test examples at this rate would decide (there are 153)",
        ),
        (
            drifted(100, 2),
            "INCONCLUSIVE",
            "flips: 2 of 100 decisions changed (95 % bound 6.2 %) of 2.0 % allowed;"
            " no number of test examples decides at this rate (there are 100)",
        ),
    ],
)
def test_flips(drift, status, message):
    gate = gates.flips(drift, 2.0)
    assert (gate.message, gate.status, gate.unit) == (message, status, "%")


@pytest.mark.parametrize(("rate", "limit"), [(0.0, 0.01), (0.005, 0.02), (0.05, 0.02)])
def test_flips_needed_is_where_the_bound_crosses(rate, limit):
    n = gates.flips_needed(rate, limit)
    bound = clopper_pearson_upper if rate < limit else clopper_pearson_lower
    assert (bound(rate * n, n) < limit) == (rate < limit)
    assert (bound(rate * (n - 1), n - 1) < limit) != (rate < limit)


@pytest.mark.parametrize(
    ("value", "status", "message"),
    [
        (32.66, "PASS", "sqnr: 32.7 dB, at least 20.0 dB demanded"),
        (19.98, "FAIL", "sqnr: 19.98 dB, at least 20.0 dB demanded"),
        (inf, "PASS", "sqnr: the outputs are identical, at least 20.0 dB demanded"),
        (
            nan,
            "FAIL",
            "sqnr: not defined with NaN or Inf among the outputs, at least 20.0 dB demanded",
        ),
    ],
)
def test_sqnr(value, status, message):
    gate = gates.sqnr(drifted(sqnr_db=value), 20.0)
    assert (gate.message, gate.status) == (message, status)


def test_finite():
    assert gates.finite(drifted(), 1530).status == "PASS"
    broken = gates.finite(drifted(non_finite=3), 1530)
    assert (broken.status, broken.message) == ("FAIL", "finite: 3 of 1530 outputs are NaN or Inf")


def test_a_limit_that_nobody_named_warns_in_other_words():
    gate = gates.flips(drifted(100, 12), None)
    assert (gate.status, gate.decides) == ("FAIL", False)
    assert gate.message == (
        "flips: 12 of 100 decisions changed (95 % sure of over 7.1 %), where 2.0 % is usual"
    )
    noisy = gates.sqnr(drifted(sqnr_db=12.3), None)
    assert noisy.message == "sqnr: 12.3 dB, where at least 20.0 dB is usual"


@pytest.mark.parametrize(
    ("drift", "status", "message", "needed"),
    [
        (
            diverged(299),
            "PASS",
            "kl: mean 0.004 (95 % bound 0.005) of 0.01 allowed",
            None,
        ),
        (
            diverged(298),
            "INCONCLUSIVE",
            "kl: mean 0.004 (95 % bound 0.005) of 0.01 allowed;"
            " 299 test examples would show it (there are 298)",
            299,
        ),
        (
            diverged(kl=(0.05, 0.04, 0.06)),
            "FAIL",
            "kl: mean 0.05 (95 % sure of over 0.04) of 0.01 allowed",
            None,
        ),
        (
            diverged(100, kl=(0.006, -0.002, 0.014)),
            "INCONCLUSIVE",
            "kl: mean 0.006 (95 % bound 0.014) of 0.01 allowed;"
            " about 400 test examples at this spread would decide (there are 100)",
            400,
        ),
        (
            diverged(1, kl=(0.001, nan, nan)),
            "INCONCLUSIVE",
            "kl: mean 0.001 of 0.01 allowed; a bound needs 2 examples, there is 1",
            None,
        ),
        (
            diverged(kl=(nan, nan, nan)),
            "FAIL",
            "kl: not defined with NaN or Inf among the outputs of 0.01 allowed",
            None,
        ),
    ],
)
def test_kl(drift, status, message, needed):
    gate = kl(drift, 0.01)
    assert (gate.message, gate.status, gate.examples_needed) == (message, status, needed)


def test_how_many_pictures_a_claim_takes_at_least():
    assert [gates.flips(drifted(), pct).fewest_examples for pct in (1, 2, 0.5)] == [299, 149, 598]
    assert accuracy(compared(60), 2.0).fewest_examples == 149
    assert accuracy(compared(61, metric="macro-f1"), 2.0).fewest_examples == 152


def test_gates_do_not_use_numpy_types():
    gate = accuracy(compared(153, lost=1), 2.0)
    assert json.dumps([gate.measured, gate.limit, gate.examples_needed])
