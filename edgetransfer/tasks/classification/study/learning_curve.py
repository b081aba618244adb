"""Measures how often a probe is wrong when it is fitted on fewer examples: the learning curve."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.head.probe import fit_at, folds

Array = np.ndarray[Any, Any]
SHARES = (0.1, 0.18, 0.32, 0.56, 1.0)
"""Sizes of the nested subsets, as shares of what may be fitted on: four to a factor of ten."""
FEWEST = 2
"""Examples of each class, on average, in the smallest subset."""
MANY = 500
"""Validation examples from which on the curve is judged on them alone."""
DRAWS = 4
FEWEST_SIZES = 3
"""With fewer there is no telling a curve from a line."""


@dataclass(frozen=True)
class Curve:
    """What was measured.

    Sizes int [S] of examples fitted on ascend; wrong [D, S, M] is 1 where a probe of draw d on
    sizes[s] examples decided example m wrongly, else 0; rows int [M] say which examples those are.
    """

    sizes: Array
    wrong: Array
    rows: Array


@dataclass(frozen=True)
class CurveData:
    """What a curve is measured on: N examples, train first, then validation.

    Features are [N, D]; every class from 0 to C - 1 of labels int [N] occurs in train, the first
    `fitted` of them. `strength` is the probe's C: it is kept, so that more examples weigh more
    against the penalty. Groups are int [N], None without a column to split by.
    """

    features: Array
    labels: Array
    fitted: int
    strength: float
    groups: Array | None = None


def measure_curve(data: CurveData, *, seed: int = 0, progress: Progress = silent) -> Curve | None:
    """Fit probes on nested subsets of several draws, and judge them on what they did not see.

    With 500 validation examples or more, subsets of train are judged on those. With fewer, train
    and validation are put together and cut into folds, so that every example is judged; subsets are
    then of the other folds, and never larger than train. Where examples have groups, folds keep
    them whole, and subsets take one group after another: more examples then mean more groups. None
    where there are too few examples for three sizes.
    """
    pooled = len(data.labels) - data.fitted < MANY
    every = [_cuts(data, seed + draw, pooled=pooled) for draw in range(DRAWS)]
    if not all(every):
        return None
    most = min(data.fitted, *(len(train) for cuts in every for train, _ in cuts))
    sizes = subset_sizes(most, int(data.labels.max()) + 1)
    fits, done, draws = sum(map(len, every)) * len(sizes), 0, []
    for number, cuts in enumerate(every):
        wrong = np.full((len(sizes), len(data.labels)), np.nan, dtype=np.float32)
        for train, judged in cuts:
            groups = None if data.groups is None else data.groups[train]
            order = train[nested_order(data.labels[train], groups, seed + number)]
            for place, size in enumerate(sizes):
                wrong[place, judged] = _wrong(data, order[:size], judged)
                done += 1
                progress(done, fits)
        draws.append(wrong)
    stacked = np.stack(draws)
    whole = ~np.isnan(stacked).all(axis=2).any(axis=0)  # sizes at which every class was there
    rows = np.flatnonzero(~np.isnan(stacked[:, whole]).any(axis=(0, 1)))
    if whole.sum() < FEWEST_SIZES or not len(rows):
        return None
    return Curve(sizes[whole], stacked[:, whole][:, :, rows], rows)


def _cuts(data: CurveData, seed: int, *, pooled: bool) -> list[tuple[Array, Array]]:
    """Return rows to draw from and rows to judge on, see `measure_curve`."""
    if pooled:
        return list(folds(data.labels, data.groups, seed))
    return [(np.arange(data.fitted), np.arange(data.fitted, len(data.labels)))]


def _wrong(data: CurveData, fitted: Array, judged: Array) -> Array:
    """Return 1 where a probe on some rows is wrong, NaN where they lack a class."""
    truth = data.labels[fitted]
    if len(np.unique(truth)) <= data.labels.max():
        return np.full(len(judged), np.nan)
    head = fit_at(data.features[fitted], truth, data.strength)
    decided = head.logits(data.features[judged]).argmax(axis=1)
    return np.asarray(decided != data.labels[judged], dtype=np.float32)


def subset_sizes(most: int, classes: int) -> Array:
    """Return the sizes of the subsets, int [S], ascending; small ones are left out.

    >>> subset_sizes(100, 2), subset_sizes(100, 10), subset_sizes(30, 10)
    (array([ 10,  18,  32,  56, 100]), array([ 32,  56, 100]), array([30]))
    """
    sizes = np.unique([round(share * most) for share in SHARES])
    return sizes[sizes >= FEWEST * classes]


def nested_order(labels: Array, groups: Array | None, seed: int) -> Array:
    """Return all rows int [N] so that the first n are a stratified subset for every n.

    With groups, the first n hold as few groups as they can.

    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> sorted(labels[nested_order(labels, None, seed=0)[:2]].tolist())
    [0, 1]
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    if groups is not None:
        rank = generator.permutation(int(groups.max()) + 1)
        return np.asarray(shuffled[np.argsort(rank[groups[shuffled]], kind="stable")])
    sizes = np.bincount(labels)
    place = np.empty(len(labels))
    for label in np.unique(labels):
        own = shuffled[labels[shuffled] == label]
        place[own] = np.arange(len(own)) / sizes[label]
    return np.asarray(shuffled[np.argsort(place[shuffled], kind="stable")])
