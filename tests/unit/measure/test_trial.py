"""A candidate before the test set is touched: holds, open or misses, and why in whole words."""

from dataclasses import replace
from math import inf, log, nan

import numpy as np
import pytest

from edgetransfer.agent.outputs import Outputs
from edgetransfer.measure.measurement import TaskTrial, TrialInput
from edgetransfer.measure.trial import hold_trial
from edgetransfer.spec.budget import Budget
from edgetransfer.tasks.classification.task import TASK

MIB = 2**20


def logits(classes, decisions, noise=0.0):
    """One-hot rows times ten, and a little noise that changes no decision."""
    rows = 10.0 * np.eye(classes, dtype=np.float32)[decisions]
    rng = np.random.default_rng(0)
    return Outputs({"logits": rows + noise * rng.uniform(-1, 1, rows.shape).astype(np.float32)})


def tried(n=200, wrong=0, labelled=None, noise=0.1, test=1000, ms=None, size=MIB):
    """The float network is always right; the candidate is wrong on the first few."""
    truth = np.arange(n) % 4
    got = truth.copy()
    got[:wrong] = (truth[:wrong] + 1) % 4
    labelled = n if labelled is None else labelled
    return TrialInput(
        logits(4, truth), logits(4, got, noise), truth[:labelled], ms, size, test_examples=test
    )


def held(candidate, metric="top1", **limits):
    return hold_trial(replace(candidate, metric=metric), Budget(**limits), TASK)


@pytest.mark.parametrize(
    ("candidate", "limits", "margin"),
    [
        (tried(), {}, True),
        (tried(labelled=0), {}, True),
        (tried(), {"max_latency_ms": 0.001}, True),  # untimed: no other rounding brings a time
        (tried(n=2000, wrong=2), {}, True),  # loses 0.1 points
        (tried(n=2000, wrong=2), {"max_drop_pp": 0.39}, False),  # more than a quarter of that
        (tried(n=2000, wrong=1, labelled=0), {}, True),
        (tried(n=2000, wrong=21, labelled=0), {}, False),
        (tried(noise=0.5), {}, False),
        (tried(size=3 * MIB), {"max_size_mib": 2.5}, False),
    ],
)
def test_who_holds_with_a_margin(candidate, limits, margin):
    assert held(candidate, **limits).has_margin(Budget(**limits)) is margin


@pytest.mark.parametrize(
    ("candidate", "limits", "status", "why"),
    [
        (tried(), {}, "holds", "within the budget"),
        (tried(labelled=0), {}, "holds", "within the budget"),
        (tried(ms=1e9, size=2**40), {}, "holds", "within the budget"),
        (tried(wrong=8), {}, "misses", "loses 4.00 pp of 2 allowed"),
        (tried(wrong=8), {"max_drop_pp": 2.5}, "misses", "loses 4.00 pp of 2.5 allowed"),
        (tried(wrong=8, labelled=0), {}, "misses", "loses 4.00 pp of 2 allowed"),
        (tried(size=3 * MIB), {"max_size_mib": 2.5}, "misses", "3.00 MiB of 2.5 allowed"),
        (tried(size=2 * MIB), {"max_size_mib": 2}, "holds", "within the budget"),
        (tried(ms=7.126), {"max_latency_ms": 7}, "misses", "p90 7.13 ms of 7.0 allowed"),
        (tried(ms=6.9), {"max_latency_ms": 7}, "holds", "within the budget"),
        (
            tried(),
            {"max_latency_ms": 0.001},
            "untimed",
            "within the budget, but its 0.001 ms: not timed",
        ),
        (
            tried(wrong=3),
            {"max_flips_pct": 1},
            "misses",
            "1.5 % of decisions changed of 1.0 allowed",
        ),
        (tried(noise=0.0), {"min_sqnr_db": 900}, "holds", "within the budget"),
        (tried(wrong=3), {"max_kl": 0.01}, "misses", "KL divergence 0.15 of 0.01 allowed"),
        (tried(), {"max_kl": 0.01, "max_class_drop_pp": 5}, "holds", "within the budget"),
        (
            tried(wrong=120),
            {"max_drop_pp": 90, "max_class_drop_pp": 5},
            "misses",
            "a class loses over 43.1 pp of 5 allowed",
        ),
        (
            tried(wrong=120),
            {"max_drop_pp": 90, "max_ece_change": 0.05},
            "misses",
            "the calibration error grows by over 0.545 of 0.05 allowed",
        ),
        (
            tried(wrong=8, size=3 * MIB, ms=4.0),
            {"max_size_mib": 1, "max_latency_ms": 2},
            "misses",
            "loses 4.00 pp of 2 allowed; 3.00 MiB of 1.0 allowed; p90 4.00 ms of 2.0 allowed",
        ),
        (
            tried(wrong=3, test=60),
            {},
            "open",
            "3 of 200 decisions changed: at this rate 60 test examples would not decide",
        ),
        (tried(wrong=1, test=5000), {}, "holds", "within the budget"),
        (
            tried(wrong=1, labelled=0, test=100),
            {"max_flips_pct": 1},
            "open",
            "1 of 200 decisions changed: 100 test examples would not bound that under 1.0 %",
        ),
        (tried(test=1), {}, "holds", "within the budget"),
    ],
)
def test_status_and_why(candidate, limits, status, why):
    trial = held(candidate, **limits)
    assert (trial.status, trial.why) == (status, why)


def test_noise_is_told_in_decibels():
    trial = held(tried(noise=0.1), min_sqnr_db=60)
    assert trial.status == "misses"
    assert trial.why == f"{trial.drift.sqnr_db:.1f} dB of 60 demanded"
    assert trial.overshoot == pytest.approx(log(1 + 60 - trial.drift.sqnr_db))


@pytest.mark.parametrize("bad", [nan, inf])
def test_what_is_not_finite_misses_whatever_the_budget(bad):
    candidate = tried()
    candidate.candidate["logits"][3, 1] = bad
    trial = held(candidate)
    assert (trial.status, trial.why) == ("misses", "1 outputs are NaN or Inf")
    assert (trial.told.lost_pp, trial.overshoot) == (None, inf)
    assert trial.rank() > held(tried(wrong=150)).rank()


def test_only_labelled_examples_are_compared_but_all_are_held_together():
    trial = held(tried(n=200, wrong=1, labelled=40, test=10_000), max_drop_pp=3)
    assert trial.told.lost_pp == pytest.approx(2.5)  # one of 40
    assert (trial.drift.n, trial.drift.flips) == (200, 1)
    assert held(tried(labelled=0)).told == TaskTrial(missed=[])


def test_the_metric_is_the_one_asked_for():
    trial = held(tried(wrong=8), metric="macro-f1", max_drop_pp=20)
    assert trial.told.row["accuracy"] == pytest.approx(0.96)
    assert trial.told.row["accuracy_ci95"] is None  # Wilson's is one of a proportion
    assert held(tried(wrong=8), max_drop_pp=20).told.row["accuracy_ci95"] is not None


def test_the_overshoot_says_how_far_a_limit_is_missed():
    assert held(tried()).overshoot == 0
    twice = held(tried(size=2 * MIB), max_size_mib=1).overshoot
    assert twice == pytest.approx(log(2))
    both = held(tried(size=2 * MIB, ms=3.0), max_size_mib=1, max_latency_ms=1).overshoot
    assert both == pytest.approx(log(2) + log(3))


def test_better_ranks_first():
    ordered = [
        held(tried(noise=0.01)),
        held(tried(noise=0.3)),
        held(tried(wrong=1, test=5000, noise=0.01)),
        held(tried(wrong=3, test=60)),
        held(tried(wrong=5)),
        held(tried(wrong=8)),
        held(tried(wrong=8, size=2 * MIB), max_size_mib=1),
    ]
    ranks = [each.rank() for each in ordered]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)
    assert [each.status for each in ordered] == [*["holds"] * 3, "open", *["misses"] * 3]
