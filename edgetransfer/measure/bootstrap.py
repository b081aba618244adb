"""Resamples what was measured, for statistics that have no interval in closed form.

It does not decide anything and holds no state: every function takes a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgetransfer.measure.metrics import Outcomes

CELLS_AT_ONCE = 4_000_000
"""Resampled counts held in memory at a time: 32 MiB of int64."""


@dataclass(frozen=True)
class Blocked:
    """Times [N] and the number [N] of the block each was taken in, from 0."""

    values: NDArray[Any]
    block: NDArray[Any]


def percentile_bounds(draws: NDArray[Any], level: float) -> tuple[float, float]:
    """Two-sided percentile interval of bootstrap draws [R], by symmetric order statistics.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    >>> percentile_bounds(np.arange(1000.0), 0.95)
    (25.0, 974.0)
    """
    ordered = np.sort(draws)
    skip = int((1 - level) / 2 * len(ordered) + 1e-9)
    return float(ordered[skip]), float(ordered[-1 - skip])


def median_ratios(
    reference: Blocked, candidate: Blocked, blocks: int, *, seed: int, resamples: int = 2000
) -> NDArray[np.float64]:
    """Draws [R] of median(reference) / median(candidate) when blocks are drawn anew.

    A block is drawn for both at once, so drift that hits both at the same time cancels. Source:
    Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013 (resample the level
    where variance enters); Carlstein, Annals of Statistics 14 (1986) for blocks.

    Raises:
        ValueError: a block has no sample of one of the two.
    """
    for side in (reference, candidate):
        if len(np.unique(side.block)) != blocks:
            msg = f"each of the {blocks} blocks needs a sample of both variants"
            raise ValueError(msg)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    above = _weighted_medians(reference, draws)
    below = _weighted_medians(candidate, draws)
    return above / below


def _weighted_medians(samples: Blocked, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lower medians [R] when block k counts weights[r, k] times.

    Finds the stretch of about sqrt(N) ordered samples that holds the median, then the sample:
    R (sqrt(N) + blocks sqrt(N)) steps instead of R N.
    """
    order = np.argsort(samples.values, kind="stable")
    ordered, block = samples.values[order].astype(np.float64), samples.block[order]
    stretch = isqrt(len(ordered) - 1) + 1
    where = np.arange(len(ordered)) // stretch
    counts = np.zeros((where[-1] + 1, weights.shape[1]), np.int64)
    np.add.at(counts, (where, block), 1)
    passed = np.cumsum(weights @ counts.T, axis=1)
    total = passed[:, -1:]
    coarse = (2 * passed < total).sum(axis=1)
    before = np.where(coarse > 0, passed[np.arange(len(weights)), coarse - 1], 0)
    places = coarse[:, None] * stretch + np.arange(stretch)
    inside = np.minimum(places, len(ordered) - 1)  # the median comes before any place beyond
    own = np.take_along_axis(weights, block[inside], axis=1)
    fine = (2 * (before[:, None] + np.cumsum(own, axis=1)) < total).sum(axis=1)
    return np.asarray(ordered[coarse * stretch + fine])


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
