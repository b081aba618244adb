"""Judges a rung of the compression ladder on examples that are not the test set."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Literal

from edgetransfer.measure.drift import Drift, measure_drift
from edgetransfer.measure.gates import MIB, flips_needed
from edgetransfer.measure.measurement import Judge, TaskTrial, TrialInput

if TYPE_CHECKING:
    from edgetransfer.spec.budget import Budget

Status = Literal["holds", "untimed", "open", "misses"]
MARGIN_DB = 25.0
"""Signal over noise that a candidate has at least that holds with a margin."""
MOST_CHANGED_PCT = 1.0
"""Decisions that may change in one that does."""
MOST_LOST = 0.25
"""Share of the loss allowed that one may have: less is a decision or two, told apart by chance."""
ORDER: tuple[Status, ...] = ("holds", "untimed", "open", "misses")


@dataclass(frozen=True)
class Trial:
    """How a candidate stands to the budget.

    It ``holds`` where the final verdict is expected to be PASS; is ``untimed`` where only a limit
    of the time is left, and no valid time to hold against it; ``open`` where no limit is missed,
    but so many decisions changed that the test set could not tell; or ``misses``. The overshoot is
    the sum of the logarithms of how far limits are missed, 0 where none is.
    """

    status: Status
    why: str
    drift: Drift
    told: TaskTrial
    overshoot: float

    def has_margin(self, budget: Budget) -> bool:
        """Tell whether it holds so well that another way of rounding is not worth its time."""
        drift, holds = self.drift, self.status in ("holds", "untimed")
        few_changed = 100 * drift.flips <= MOST_CHANGED_PCT * drift.n
        little_lost = (self.told.lost_pp or 0.0) <= MOST_LOST * budget.max_drop_pp
        return holds and little_lost and few_changed and drift.sqnr_db >= MARGIN_DB

    def rank(self) -> tuple[int, float, float, int, float]:
        """Return what is smaller for the better of two: status, overshoot, loss, flips, noise.

        The loss is that of the metric on labelled examples, in points; a gain is chance, and counts
        as none. Flips and noise tell apart what loses as much.
        """
        quality = -self.drift.sqnr_db if self.drift.non_finite == 0 else float("inf")
        lost = max(0.0, self.told.lost_pp or 0.0)
        return ORDER.index(self.status), self.overshoot, lost, self.drift.flips, quality


def hold_trial(tried: TrialInput, budget: Budget, task: Judge) -> Trial:
    """Hold what was seen against the budget, whose limits are those of the verdict.

    Whether the test set could bound a loss is asked of the rate of changed decisions.
    """
    drift = measure_drift(tried.reference, tried.candidate, task)
    if drift.non_finite:
        why = f"{drift.non_finite} outputs are NaN or Inf"
        return Trial("misses", why, drift, TaskTrial(), float("inf"))
    told = task.hold(tried, budget, drift)
    missed = [*_missed(tried, budget, drift, told.lost_pp), *told.missed]
    if missed:
        overshoot = sum(log(1 + over) for _, over in missed)
        return Trial("misses", "; ".join(why for why, _ in missed), drift, told, overshoot)
    doubt = told.doubt or _doubt(tried, budget, drift)
    if doubt:
        return Trial("open", doubt, drift, told, 0.0)
    if budget.max_latency_ms is not None and tried.latency_ms is None:
        why = f"within the budget, but its {budget.max_latency_ms:g} ms: {tried.untimed}"
        return Trial("untimed", why, drift, told, 0.0)
    return Trial("holds", "within the budget", drift, told, 0.0)


def _missed(
    tried: TrialInput, budget: Budget, drift: Drift, lost_pp: float | None
) -> list[tuple[str, float]]:
    """Return missed limits, in words and by which share; unlabelled, every change is a loss."""
    flipped = 100 * drift.flips / drift.n
    lost = flipped if lost_pp is None else lost_pp
    size, p90_ms = tried.bytes / MIB, tried.latency_ms or 0.0
    limits = [
        (lost, budget.max_drop_pp, f"loses {lost:.2f} pp", "g"),
        (size, budget.max_size_mib, f"{size:.2f} MiB", ""),
        (p90_ms, budget.max_latency_ms, f"p90 {p90_ms:.2f} ms", ""),
        (flipped, budget.max_flips_pct, f"{flipped:.1f} % of decisions changed", ""),
    ]
    missed = [
        (f"{told} of {limit:{form}} allowed", (found - limit) / limit)
        for found, limit, told, form in limits
        if limit is not None and found > limit
    ]
    wanted = budget.min_sqnr_db
    if wanted is not None and drift.sqnr_db < wanted:
        missed.append((f"{drift.sqnr_db:.1f} dB of {wanted:g} demanded", wanted - drift.sqnr_db))
    return missed


def _doubt(tried: TrialInput, budget: Budget, drift: Drift) -> str:
    """Say why the test set would not decide on changed decisions, empty where it would."""
    if drift.flips and budget.max_flips_pct is not None:
        needed = flips_needed(drift.flips / drift.n, budget.max_flips_pct / 100)
        if needed is None or needed > tried.test_examples:
            return (
                f"{drift.flips} of {drift.n} decisions changed: {tried.test_examples} test "
                f"examples would not bound that under {budget.max_flips_pct} %"
            )
    return ""
