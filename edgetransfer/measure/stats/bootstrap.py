"""Resamples what was measured, for statistics without an interval in closed form; and ROC areas."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.stats.proportions import z_value

if TYPE_CHECKING:
    from edgetransfer.measure.metrics import Outcomes

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Area:
    """The area under a ROC curve: 0.5 tells nothing apart, 1 everything.

    Attributes:
        auc: chance that a positive scores higher than a negative; ties count half.
        ci95: two-sided 95 % interval.
    """

    auc: float
    ci95: tuple[float, float]


def area(positives: Array, negatives: Array, level: float = 0.95) -> Area:
    """Return the area for scores [M] of positives and [N] of negatives, two at least of each.

    The variance is that of DeLong et al. (1988, Biometrics 44:837-845, equation 4), from the
    placement of every example among those of the other kind; the interval is taken on the logit
    scale (Pepe 2003, section 5.2.3), so that it stays within 0 and 1. Where all are told apart the
    variance is 0, and the area is taken to lack half a pair.

    >>> found = area(np.array([3.0, 2.0, 4.0, 1.0]), np.array([0.0, 1.0, 2.0, 0.5]))
    >>> found.auc, [round(end, 2) for end in found.ci95]
    (0.875, [0.43, 0.99])
    """
    above = _placements(positives, negatives)
    below = _placements(negatives, positives)
    auc, pairs = float(above.mean()), len(positives) * len(negatives)
    inside = min(max(auc, 0.5 / pairs), 1 - 0.5 / pairs)
    deviation = sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    centre = log(inside / (1 - inside))
    reach = z_value((1 + level) / 2) * deviation / (inside * (1 - inside))
    return Area(auc, (_logistic(centre - reach), _logistic(centre + reach)))


def _logistic(log_odds: float) -> float:
    return 1 / (1 + exp(min(-log_odds, 700.0)))


def _placements(scores: Array, others: Array) -> Array:
    """Return the share of the others that each score [N] lies above; ties count half."""
    ordered = np.sort(others)
    under = np.searchsorted(ordered, scores, side="left")
    not_over = np.searchsorted(ordered, scores, side="right")
    shares: Array = (under + not_over) / (2 * len(others))
    return shares


CELLS_AT_ONCE = 4_000_000
"""Resampled counts held in memory at a time: 32 MiB of int64."""


def percentile_bounds(draws: NDArray[Any], level: float) -> tuple[float, float]:
    """Two-sided percentile interval of bootstrap draws [R], by symmetric order statistics.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    >>> percentile_bounds(np.arange(1000.0), 0.95)
    (25.0, 974.0)
    """
    ordered = np.sort(draws)
    skip = int((1 - level) / 2 * len(ordered) + 1e-9)
    return float(ordered[skip]), float(ordered[-1 - skip])


def drops(
    outcomes: Outcomes, metric: str, *, seed: int, resamples: int = 10_000
) -> NDArray[np.float64]:
    """Draws [R] of metric(reference) - metric(candidate) when examples are drawn anew.

    Examples are drawn within their class, so that every class keeps its number, and for both
    models at once. An example counts only by its (label, decision, decision) cell, so a draw is
    one multinomial count a class. Source: Efron and Tibshirani (1993), section 8.3 for strata.

    `metric` is "macro-f1" or "balanced-accuracy"; top-1 has Tango's interval instead.
    """
    triples = np.stack([outcomes.truth, outcomes.reference, outcomes.candidate])
    cells, counts = np.unique(triples, axis=1, return_counts=True)
    rng = np.random.default_rng(seed)
    step = max(1, CELLS_AT_ONCE // len(counts))
    parts = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        weights = np.empty((size, len(counts)), np.int64)
        for label in np.unique(cells[0]):
            own = cells[0] == label
            total = counts[own].sum()
            weights[:, own] = rng.multinomial(total, counts[own] / total, size=size)
        better = _scores(weights, (cells[0], cells[1]), outcomes.classes, metric)
        worse = _scores(weights, (cells[0], cells[2]), outcomes.classes, metric)
        parts.append(better - worse)
    return np.concatenate(parts)


def _scores(
    weights: NDArray[np.int64], cells: tuple[NDArray[Any], NDArray[Any]], classes: int, metric: str
) -> NDArray[np.float64]:
    """Metric [R] of weighted (label, decision) cells; weights [R, cells]."""
    truth, decided = cells
    support = _by_class(weights, truth, classes)
    hits = _by_class(weights * (truth == decided), truth, classes)
    seen = support[0] > 0
    if metric == "balanced-accuracy":
        return np.asarray((hits[:, seen] / support[:, seen]).mean(axis=1))
    said = _by_class(weights, decided, classes)
    return np.asarray((2 * hits[:, seen] / (support + said)[:, seen]).mean(axis=1))


def _by_class(weights: NDArray[np.int64], column: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Sums [R, classes] of weights [R, cells] over the cells of each class; -1 is no class."""
    order = np.argsort(column, kind="stable")
    order = order[column[order] >= 0]
    sums = np.zeros((len(weights), classes), np.int64)
    if len(order):
        present, starts = np.unique(column[order], return_index=True)
        sums[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return sums
