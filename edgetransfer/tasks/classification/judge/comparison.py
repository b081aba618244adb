"""Says how much of a metric, and of each class's recall, the candidate loses, with bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.stats.intervals import percentile_bounds
from edgetransfer.measure.stats.paired import (
    FEW,
    Pairs,
    drop_interval,
    drop_lower,
    drop_upper,
    examples_needed,
)
from edgetransfer.tasks.classification.judge.metrics import METRICS, Outcomes


@dataclass(frozen=True)
class ClassDrop:
    """What one class loses: how many of its examples only one of the two models gets right.

    `upper_pp` is the one-sided 95 % upper bound of the loss, `lower_pp` the lower one, at 5 % for
    all classes together.
    """

    label: str
    pairs: Pairs
    upper_pp: float
    lower_pp: float


def class_drops(outcomes: Outcomes, labels: Sequence[str]) -> tuple[ClassDrop, ...]:
    """Bound the loss of every class that has examples.

    That *no* class loses more than a limit is shown when each one's 95 % bound lies under it: an
    intersection-union test, which needs no correction (Berger, Technometrics 24, 1982). That *some*
    class does is one of K chances, so that the lower bounds are taken at 5 % / K, the first step of
    Holm's procedure (Scandinavian Journal of Statistics 6, 1979).
    """
    present = [k for k in range(outcomes.classes) if (outcomes.truth == k).any()]
    level = 1 - 0.05 / len(present)
    drops = []
    for k in present:
        pairs = outcomes.where(np.asarray(outcomes.truth == k)).pairs()
        upper, lower = 100 * drop_upper(pairs), 100 * drop_lower(pairs, level)
        drops.append(ClassDrop(labels[k], pairs, upper, lower))
    return tuple(drops)


RESAMPLES = 10_000
EXACT = "exact unconditional limits, tables ordered by Tango's score"
SCORE = "Tango score interval, continuity-corrected"
BOOTSTRAP = f"paired bootstrap, {RESAMPLES} resamples, stratified by class"
FLOORED = f"{BOOTSTRAP}; not inside the exact limits of as many equally weighted examples"
IDENTITY = "the shipped network is the float network, byte for byte"
DEGENERATE = "exact unconditional limits (no flip, so the bootstrap is degenerate)"


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of one metric. Metrics are fractions, differences points (pp).

    Args:
        delta_pp: candidate - reference; negative is a loss.
        ci95_pp: two-sided 95 % interval of `delta_pp`.
        drop_lcb95_pp: one-sided 95 % lower bound of the loss; `drop_ucb95_pp` is the upper.
        n_effective: how many equally weighted examples bound the loss as well when none flips.
        method: where the bounds come from.
    """

    metric: str
    n: int
    reference: float
    candidate: float
    delta_pp: float
    ci95_pp: tuple[float, float]
    drop_lcb95_pp: float
    drop_ucb95_pp: float
    pairs: Pairs
    n_effective: int
    method: str


class _Bounds(NamedTuple):
    """Bounds of the drop, as fractions."""

    two_sided: tuple[float, float]
    lower: float
    upper: float
    method: str


def compare(outcomes: Outcomes, metric: str, *, seed: int) -> Comparison:
    """Compare the two models on the examples they both judged.

    Top-1 has the bounds of `paired`. The other metrics are not means of 0/1 outcomes and have a
    paired bootstrap stratified by class, which knows nothing of flips it has not seen: with up to
    `FEW` discordant pairs its bounds do not lie inside those of `n_effective` equally weighted
    examples (docs/statistics.md says how often such a bound errs).
    """
    score = METRICS[metric]
    reference = score(outcomes.truth, outcomes.reference, outcomes.classes)
    candidate = score(outcomes.truth, outcomes.candidate, outcomes.classes)
    effective = outcomes.n if metric == "top1" else effective_examples(outcomes)
    bounds = _bounds(outcomes, metric, effective, seed)
    low, high = bounds.two_sided
    return Comparison(
        metric=metric,
        n=outcomes.n,
        reference=reference,
        candidate=candidate,
        delta_pp=100 * (candidate - reference),
        ci95_pp=(-100 * high, -100 * low),
        drop_lcb95_pp=100 * bounds.lower,
        drop_ucb95_pp=100 * bounds.upper,
        pairs=outcomes.pairs(),
        n_effective=effective,
        method=bounds.method,
    )


def examples_to_decide(comparison: Comparison, max_drop_pp: float) -> int | None:
    """Test examples that would decide whether the loss is under a limit.

    For top-1 by `paired.examples_needed`; for the others the distance between estimate and
    bound is taken to shrink with the root of n.

    None where the loss lies on the limit, so that no number decides.
    """
    limit = max_drop_pp / 100
    if comparison.metric == "top1":
        return examples_needed(limit, comparison.pairs)
    drop_pp = -comparison.delta_pp
    if drop_pp == max_drop_pp:
        return None
    bound_pp = comparison.drop_ucb95_pp if drop_pp < max_drop_pp else comparison.drop_lcb95_pp
    ratio = (bound_pp - drop_pp) / (max_drop_pp - drop_pp)
    scaled = ceil(comparison.n * ratio * ratio)
    if drop_pp > max_drop_pp or comparison.method == BOOTSTRAP:
        return scaled
    quiet = fewest_examples(comparison, max_drop_pp)
    return quiet if quiet is None or comparison.method == DEGENERATE else max(scaled, quiet)


def fewest_examples(comparison: Comparison, limit_pp: float) -> int | None:
    """Examples that would pass the limit if none of them flipped."""
    quiet = examples_needed(limit_pp / 100, Pairs(0, 0, comparison.n_effective))
    return None if quiet is None else ceil(quiet * comparison.n / comparison.n_effective)


def by_group(
    outcomes: Outcomes, columns: Mapping[str, Sequence[str]], metric: str, *, seed: int
) -> list[tuple[str, str, Comparison]]:
    """Compare within each value of each column [N]: columns as given, values sorted."""
    results: list[tuple[str, str, Comparison]] = []
    for column, given in columns.items():
        values = np.array([str(value) for value in given], dtype=object)
        if len(values) != outcomes.n:
            msg = f"column {column} has {len(values)} values for {outcomes.n} examples"
            raise ValueError(msg)
        parts = {value: outcomes.where(values == value) for value in sorted(set(values.tolist()))}
        results += [(column, k, compare(part, metric, seed=seed)) for k, part in parts.items()]
    return results


def _bounds(outcomes: Outcomes, metric: str, effective: int, seed: int) -> _Bounds:
    """Bounds of the drop by the method that fits metric and data."""
    few = outcomes.pairs().discordant <= FEW
    if metric == "top1":
        return _closed(outcomes.pairs(), outcomes.pairs(), EXACT if few else SCORE)
    if np.array_equal(outcomes.reference, outcomes.candidate):
        return _closed(Pairs(0, 0, effective), Pairs(0, 0, effective), DEGENERATE)
    draws = drops(outcomes, metric, seed=seed)
    low, high = percentile_bounds(draws, 0.95)
    lower, upper = percentile_bounds(draws, 0.90)
    if not few:
        return _Bounds((low, high), lower, upper, BOOTSTRAP)
    least = _closed(*_equally_weighted(outcomes, effective), FLOORED)
    two_sided = min(low, least.two_sided[0]), max(high, least.two_sided[1])
    return _Bounds(two_sided, min(lower, least.lower), max(upper, least.upper), FLOORED)


def _closed(most: Pairs, least: Pairs, method: str) -> _Bounds:
    """Bounds without draws, of the tables that speak most and least for a drop."""
    two_sided = drop_interval(least)[0], drop_interval(most)[1]
    return _Bounds(two_sided, drop_lower(least), drop_upper(most), method)


def _equally_weighted(outcomes: Outcomes, effective: int) -> tuple[Pairs, Pairs]:
    """Pairs among `effective` examples that weigh what one of the smallest class does.

    An example of another class counts for a part of one; the sums are rounded up and down, once
    so that the drop is large, once so that it is small.
    """
    support = np.bincount(outcomes.truth)
    weight = support[support > 0].min() / support[outcomes.truth]
    right, also = (each == outcomes.truth for each in (outcomes.reference, outcomes.candidate))
    lost, won = weight[right & ~also].sum(), weight[also & ~right].sum()
    most = Pairs(ceil(lost - 1e-9), floor(won + 1e-9), effective)
    return most, Pairs(floor(lost + 1e-9), ceil(won - 1e-9), effective)


def effective_examples(outcomes: Outcomes) -> int:
    """Classes that occur times examples of the smallest, which bound a loss or an error as well.

    A loss confined to the smallest class, of weight 1/K and m examples, stays unseen as often as
    one of the same size spread over K m equally weighted examples.
    """
    support = np.bincount(outcomes.truth)
    return int(np.count_nonzero(support) * support[support > 0].min())


CELLS_AT_ONCE = 4_000_000
"""Resampled counts held in memory at a time: 32 MiB of int64."""


def drops(
    outcomes: Outcomes, metric: str, *, seed: int, resamples: int = RESAMPLES
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
    """Scores [R] of weighted (label, decision) cells; weights [R, cells]."""
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
