"""Says how much of a metric the candidate loses against the reference, with bounds.

It does not know any limit; `gates` holds the loss against the budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.measure.bootstrap import drops, percentile_bounds
from edgetransfer.measure.metrics import METRICS, Outcomes
from edgetransfer.measure.paired import (
    Pairs,
    drop_interval,
    drop_lower,
    drop_upper,
    examples_needed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgetransfer.spec.words import Metric

RESAMPLES = 10_000
FEW_DISCORDANT = 10
"""With fewer discordant pairs a bootstrap is too sure of itself and gets a floor."""

TANGO = "Tango score interval"
BOOTSTRAP = f"paired bootstrap, {RESAMPLES} resamples, stratified by class"
FLOORED = f"{BOOTSTRAP}, upper bound not under that of no flip"
DEGENERATE = f"{TANGO} (no flip, so the bootstrap is degenerate)"


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of one metric. Metrics are fractions, differences points (pp).

    Args:
        metric: "top1", "macro-f1" or "balanced-accuracy".
        n: examples.
        reference: the metric of the reference.
        candidate: the metric of the candidate.
        delta_pp: candidate - reference; negative is a loss.
        ci95_pp: two-sided 95 % interval of `delta_pp`.
        drop_lcb95_pp: one-sided 95 % lower bound of the loss.
        drop_ucb95_pp: one-sided 95 % upper bound of the loss.
        pairs: the discordant pairs.
        n_effective: how many equally weighted examples bound the loss as well when none flips.
        method: where the bounds come from.
    """

    metric: Metric
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


@dataclass(frozen=True)
class GroupResult:
    """The comparison among the examples that have one value in one column."""

    column: str
    value: str
    comparison: Comparison


@dataclass(frozen=True)
class _Bounds:
    """Bounds of the drop, as fractions."""

    two_sided: tuple[float, float]
    lower: float
    upper: float
    method: str


def compare(outcomes: Outcomes, metric: Metric, *, seed: int) -> Comparison:
    """Compare the two models on the examples they both judged.

    Top-1 has Tango's score interval. The other metrics are not means of 0/1 outcomes and have a
    paired bootstrap stratified by class, which knows nothing of flips it has not seen: without
    any flip, Tango's interval of `n_effective` examples stands in, and with fewer than
    `FEW_DISCORDANT` discordant pairs its upper bound is a floor.

    Args:
        outcomes: labels and decisions [N].
        metric: which metric.
        seed: of the bootstrap.
    """
    score = METRICS[metric]
    reference = score(outcomes.truth, outcomes.reference, outcomes.classes)
    candidate = score(outcomes.truth, outcomes.candidate, outcomes.classes)
    effective = outcomes.n if metric == "top1" else _effective(outcomes)
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

    Returns:
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
    quiet = examples_needed(limit, Pairs(0, 0, comparison.n_effective))
    if quiet is None:
        return None
    quiet = ceil(quiet * comparison.n / comparison.n_effective)
    return quiet if comparison.method == DEGENERATE else max(scaled, quiet)


def by_group(
    outcomes: Outcomes, columns: Mapping[str, Sequence[str]], metric: Metric, *, seed: int
) -> tuple[GroupResult, ...]:
    """Compare within each value of each column [N], columns as given, values sorted."""
    results = []
    for column, given in columns.items():
        values = np.array([str(value) for value in given], dtype=object)
        if len(values) != outcomes.n:
            msg = f"column {column} has {len(values)} values for {outcomes.n} examples"
            raise ValueError(msg)
        for value in sorted(set(values.tolist())):
            part = outcomes.where(values == value)
            results.append(GroupResult(column, value, compare(part, metric, seed=seed)))
    return tuple(results)


def _bounds(outcomes: Outcomes, metric: Metric, effective: int, seed: int) -> _Bounds:
    """Bounds of the drop by the method that fits metric and data."""
    if metric == "top1":
        return _tango(outcomes.pairs(), TANGO)
    quiet = _tango(Pairs(0, 0, effective), DEGENERATE)
    if np.array_equal(outcomes.reference, outcomes.candidate):
        return quiet
    draws = drops(outcomes, metric, seed=seed, resamples=RESAMPLES)
    low, high = percentile_bounds(draws, 0.95)
    lower, upper = percentile_bounds(draws, 0.90)
    if outcomes.pairs().discordant >= FEW_DISCORDANT:
        return _Bounds((low, high), lower, upper, BOOTSTRAP)
    high = max(high, quiet.two_sided[1])
    return _Bounds((low, high), lower, max(upper, quiet.upper), FLOORED)


def _tango(pairs: Pairs, method: str) -> _Bounds:
    return _Bounds(drop_interval(pairs), drop_lower(pairs), drop_upper(pairs), method)


def _effective(outcomes: Outcomes) -> int:
    """Classes that occur times examples of the smallest.

    A loss confined to the smallest class, of weight 1/K and m examples, stays unseen as often as
    one of the same size spread over K m equally weighted examples.
    """
    support = np.bincount(outcomes.truth)
    return int(np.count_nonzero(support) * support[support > 0].min())
