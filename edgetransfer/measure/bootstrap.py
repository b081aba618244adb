"""Resamples what was measured, for statistics that have no interval in closed form.

It does not decide anything and holds no state: every function takes a seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgetransfer.measure.metrics import Outcomes

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

    Args:
        outcomes: labels and decisions [N].
        metric: "macro-f1" or "balanced-accuracy"; top-1 has Tango's interval instead.
        seed: of the draws.
        resamples: how many draws, R.
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
    weights: NDArray[np.int64],
    cells: tuple[NDArray[Any], NDArray[Any]],
    classes: int,
    metric: str,
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
