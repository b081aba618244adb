"""A fitted model against rivals that know nothing."""

import numpy as np
import pytest

from edgetransfer.tasks.classification.study import (
    Rivals,
    contest_warnings,
    hold_contest,
    neighbour_warnings,
)


def contest(subject_right, rival_right, n=200):
    truth = np.arange(n) % 2
    rng = np.random.default_rng(0)

    def decide(share):
        wrong = rng.permutation(n)[: round((1 - share) * n)]
        decided = truth.copy()
        decided[wrong] = 1 - truth[wrong]
        return decided

    rivals = {"pixels": decide(rival_right), "always ants": np.zeros(n, dtype=int)}
    subject = decide(subject_right)
    return Rivals("probe", "it knows less than", truth, subject, rivals, 2, "held-out examples")


def rows_of(subject_right, rival_right, metric="top1"):
    held = contest(subject_right, rival_right)
    rows = hold_contest(held, metric, seed=0)
    return rows, contest_warnings(held, rows)


def test_a_better_subject_is_not_accused():
    rows, warnings = rows_of(0.95, 0.7)
    assert [row["finding"] for row in rows] == ["better", "better"]
    assert warnings == []


def test_a_worse_subject_is_accused_with_the_evidence():
    rows, warnings = rows_of(0.7, 0.9)
    low, high = rows[0]["ci95_pp"]
    assert low < -20 < high < 0
    assert [warning["message"] for warning in warnings] == [
        f"it knows less than pixels: 0.700 against 0.900, difference -20.0 pp "
        f"[{low:+.1f}, {high:+.1f}] on 200 held-out examples"
    ]
    assert warnings[0]["measured_pp"] == pytest.approx(-20)


def test_nothing_is_said_of_what_is_not_shown():
    rows, warnings = rows_of(0.88, 0.9)
    assert rows[0]["finding"] == "undecided"
    assert warnings == []


def test_other_metrics_are_bootstrapped():
    rows, _ = rows_of(0.95, 0.7, "macro-f1")
    assert rows[0]["metric"] == "macro-f1"
    assert "bootstrap" in rows[0]["method"]


def test_neighbours_at_chance_warn():
    near = {"k": 5, "n": 60, "accuracy": 0.35, "chance": 0.333, "p": 0.4}
    assert neighbour_warnings(near) == [
        {
            "message": "what this backbone finds similar is often of different classes: nearest "
            "neighbours are right in 0.350, by chance 0.333 (p = 0.40, n = 60)",
            "measured_pp": pytest.approx(1.7),
        }
    ]
    assert neighbour_warnings({**near, "p": 0.01}) == []
    assert neighbour_warnings(None) == []
