"""Judges a rung of the compression ladder on examples that are not the test set."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.measure.calibration import calibration
from edgetransfer.measure.comparison import Comparison, class_drops, compare, examples_to_decide
from edgetransfer.measure.drift import Drift, measure_drift
from edgetransfer.measure.gates import MIB, flips_needed
from edgetransfer.measure.metrics import Outcomes, decisions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgetransfer.spec.budget import Budget
    from edgetransfer.spec.words import Metric

_Parts = list[tuple[str, float]]
Status = Literal["holds", "untimed", "open", "misses"]
ORDER: tuple[Status, ...] = ("holds", "untimed", "open", "misses")


@dataclass(frozen=True)
class TrialInput:
    """What is known of a candidate before the test set is touched.

    Attributes:
        reference: logits of the float network, float32 [M, C]; the labelled examples first.
        truth: classes of the labelled examples, int [N], N <= M.
        latency_ms: p90 on the target, None where there is no valid one.
        test_examples: how many will judge the final artefact.
    """

    reference: NDArray[Any]
    candidate: NDArray[Any]
    truth: NDArray[Any]
    latency_ms: float | None
    bytes: int
    test_examples: int
    untimed: str = "not timed"


@dataclass(frozen=True)
class Trial:
    """How a candidate stands to the budget.

    Attributes:
        status: ``holds`` where the final verdict is expected to be PASS; ``untimed`` where only a
            limit of the time is left, and no valid time to hold against it; ``open`` where no limit
            is missed, but so many decisions changed that the test set could not tell; ``misses``.
        overshoot: sum of the logarithms of how far limits are missed, 0 where none is.
    """

    status: Status
    why: str
    drift: Drift
    comparison: Comparison | None
    overshoot: float

    def rank(self) -> tuple[int, float, float, int, float]:
        """Return what is smaller for the better of two: status, overshoot, loss, flips, noise.

        The loss is that of the metric on labelled examples, in points; a gain is chance, and counts
        as none. Flips and noise tell apart what loses as much.
        """
        quality = -self.drift.sqnr_db if self.drift.non_finite == 0 else float("inf")
        lost = 0.0 if self.comparison is None else max(0.0, -self.comparison.delta_pp)
        return ORDER.index(self.status), self.overshoot, lost, self.drift.flips, quality


def hold_trial(tried: TrialInput, budget: Budget, metric: Metric, seed: int) -> Trial:
    """Hold what was seen against the budget.

    The limits are those of the verdict. A loss is missed by its estimate, not by its bounds, which
    a validation set is too small for; whether the test set could bound it is asked of the rate
    of changed decisions.
    """
    drift = measure_drift(tried.reference, tried.candidate)
    if drift.non_finite:
        why = f"{drift.non_finite} logits are NaN or Inf"
        return Trial("misses", why, drift, None, float("inf"))
    labelled = len(tried.truth)
    comparison = None
    parts: _Parts = []
    if labelled:
        outcomes = Outcomes(
            truth=tried.truth,
            reference=decisions(tried.reference[:labelled]),
            candidate=decisions(tried.candidate[:labelled]),
            classes=tried.reference.shape[1],
        )
        comparison = compare(outcomes, metric, seed=seed)
        parts = _missed_parts(tried, outcomes, budget, seed)
    missed = [*_missed(tried, budget, drift, comparison), *parts]
    if missed:
        overshoot = sum(log(1 + over) for _, over in missed)
        return Trial("misses", "; ".join(why for why, _ in missed), drift, comparison, overshoot)
    doubt = _doubt(tried, budget, drift, comparison)
    if doubt:
        return Trial("open", doubt, drift, comparison, 0.0)
    if budget.max_latency_ms is not None and tried.latency_ms is None:
        why = f"within the budget, but its {budget.max_latency_ms:g} ms: {tried.untimed}"
        return Trial("untimed", why, drift, comparison, 0.0)
    return Trial("holds", "within the budget", drift, comparison, 0.0)


def _missed(
    tried: TrialInput, budget: Budget, drift: Drift, comparison: Comparison | None
) -> list[tuple[str, float]]:
    """Return every limit that is missed, in words, and by which share of itself."""
    lost = 100 * drift.flips / drift.n if comparison is None else -comparison.delta_pp
    size = tried.bytes / MIB
    flipped, p90_ms, kl = 100 * drift.flips / drift.n, tried.latency_ms or 0.0, drift.kl_mean
    limits = [
        (lost, budget.max_drop_pp, f"loses {lost:.2f} pp", "g"),
        (size, budget.max_size_mib, f"{size:.2f} MiB", ""),
        (p90_ms, budget.max_latency_ms, f"p90 {p90_ms:.2f} ms", ""),
        (flipped, budget.max_flips_pct, f"{flipped:.1f} % of decisions changed", ""),
        (kl, budget.max_kl, f"{kl:.2g} nats", ""),
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


def _missed_parts(tried: TrialInput, outcomes: Outcomes, budget: Budget, seed: int) -> _Parts:
    """Return the limits on classes and calibration that are missed for sure.

    A class has too few examples of validation, and a calibration error too much noise, for an
    estimate to say so.
    """
    missed: _Parts = []
    drop, change = budget.max_class_drop_pp, budget.max_ece_change
    if drop is not None:
        numbers = [str(k) for k in range(outcomes.classes)]
        lost = max(each.lower_pp for each in class_drops(outcomes, numbers))
        if lost > drop:
            missed.append(
                (f"a class loses over {lost:.1f} pp of {drop:g} allowed", lost / drop - 1)
            )
    if change is not None:
        rows = outcomes.n
        found = calibration(tried.truth, tried.reference[:rows], tried.candidate[:rows], seed=seed)
        worse = found.loss_lcb95
        if worse > change:
            told = f"the calibration error grows by over {worse:.3f} of {change:g} allowed"
            missed.append((told, worse / change - 1))
    return missed


def _doubt(
    tried: TrialInput, budget: Budget, drift: Drift, comparison: Comparison | None
) -> str | None:
    """Say why the test set would not decide, None where it would or no candidate could help."""
    if drift.flips == 0:
        return None
    if comparison is not None and comparison.pairs.discordant:
        needed = examples_to_decide(comparison, budget.max_drop_pp)
        if needed is None or needed > tried.test_examples:
            return (
                f"{drift.flips} of {drift.n} decisions changed: at this rate "
                f"{tried.test_examples} test examples would not decide"
            )
    if budget.max_flips_pct is not None:
        needed = flips_needed(drift.flips / drift.n, budget.max_flips_pct / 100)
        if needed is None or needed > tried.test_examples:
            return (
                f"{drift.flips} of {drift.n} decisions changed: {tried.test_examples} test "
                f"examples would not bound that under {budget.max_flips_pct} %"
            )
    return None
