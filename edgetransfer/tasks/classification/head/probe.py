"""Fits a linear probe: logistic regression on frozen features, its strength cross-validated.

Also how well logits decide: by a metric, then by their log loss at the temperature that mends it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from edgetransfer.graph.prepare import side_by_side
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.head.linear_heads import KEPT, NOTHING, Known, LinearHeads
from edgetransfer.tasks.classification.judge.metrics import METRICS, decisions

if TYPE_CHECKING:
    from edgetransfer.backbone.model import LinearHead

Array = np.ndarray[Any, Any]
HOTTEST = 20.0
WORST = -1e9
"""Stands for minus infinity, which JSON has not."""


class Score(NamedTuple):
    """A larger one is better: the metric's value decides, the second number only between equals.

    That is minus the log loss at its own temperature, in nats; `WORST` where logits are not finite.
    """

    value: float
    mended: float


def score(logits: Array, labels: Array, metric: str) -> Score:
    """Judge logits float [N, C] on labels int [N].

    >>> score(np.array([[9.0, 0.0], [0.0, 9.0]]), np.array([0, 1]), "top1").value
    1.0
    """
    value = METRICS[metric](labels, decisions(logits), logits.shape[1])
    if not np.isfinite(logits).all():
        return Score(value, WORST)
    return Score(value, -log_loss(logits / temperature(logits, labels), labels))


def temperature(logits: Array, labels: Array) -> float:
    """Return what logits [N, C] are to be divided by so that their log loss is least, 1 to 20.

    Guo et al. 2017, "On calibration of modern neural networks", section 4.2. Decisions stay. It is
    never under 1: few held-out examples that are all right would call for no doubt at all.

    >>> sure = 20 * np.eye(2)[[0, 1, 0, 1]]
    >>> round(temperature(sure, np.array([0, 1, 0, 0])), 2)  # right in 3 of 4: 20 / log(3)
    18.2
    """
    from scipy.optimize import minimize_scalar

    held = logits.astype(np.float64)
    found = minimize_scalar(
        lambda t: log_loss(held / np.exp(t), labels), bounds=(0.0, np.log(HOTTEST)),
        method="bounded", options={"xatol": 1e-4},
    )  # fmt: skip
    return float(np.exp(found.x)) if found.fun < log_loss(held, labels) else 1.0


def differences(
    before: Array, after: Array, labels: Array, of: Callable[..., float], draws: int, seed: int
) -> Array:
    """Return a paired bootstrap [draws] of a metric of decisions int [N]: after less before.

    The metric takes labels and decisions.
    """
    generator = np.random.default_rng(seed)
    drawn = np.empty(draws)
    for number in range(draws):
        rows = generator.integers(len(labels), size=len(labels))
        drawn[number] = of(labels[rows], after[rows]) - of(labels[rows], before[rows])
    return drawn


def log_loss(logits: Array, labels: Array, weights: Array | None = None) -> float:
    """Return the mean cross-entropy in nats of logits [N, C] against class indices [N].

    Weights [N] say how much an example counts, all alike without.

    >>> round(log_loss(np.zeros((3, 2)), np.array([0, 1, 1])), 4)
    0.6931
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float(np.average(normaliser - shifted[np.arange(len(labels)), labels], weights=weights))


STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Values of C (inverse L2 strength) tried, on features of mean spread 1."""
MAX_FOLDS = 5
RISEN = 1.02
"""Times the smallest cross-validated loss at which no weaker penalty is tried: on 36 subsets of
spoken digits, of 3 to 40 examples a class, some with wrong labels, none came back from 1.005."""
SIDE_BY_SIDE = 2**25
"""Logits (128 MiB) up to which folds are fitted side by side."""
WORTH_A_THREAD = 2**18
"""Logits of all examples from which on the folds are shared between two threads."""
ERROR_DRAWS = 200
FEWEST = 0.1
"""The C taken where a class has one example, so that nothing can be held out."""


@dataclass(frozen=True)
class Probe:
    """A fitted head and how its strength was chosen.

    Attributes:
        head: applies to raw features: centring and scaling are folded into it.
        strength: the C that was taken.
        folds: folds of the cross-validation; 0 where a class has one example only.
        cross_validated: mean (log loss, accuracy) over the folds for every C tried, ascending.
        held_out: float32 [N, C], logits of every example by the fit on the other folds at that C:
            slightly too good, as it was chosen on them. Rows of NaN for examples that no fold held
            out, all of them where a class has one example only. Which examples are held out
            together depends on labels, groups and seed alone, whatever the features.
    """

    head: LinearHead
    strength: float
    folds: int
    cross_validated: dict[float, tuple[float, float]]
    held_out: Array


def fit_probe(
    features: Array,
    labels: Array,
    *,
    known: Known = NOTHING,
    metric: str | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Probe:
    """Fit the head on features float [N, D] and class indices int [N], of which every one occurs.

    Every C whose cross-validated metric lies within a standard error of the best one's, paired, is
    as good as that for all that these examples can tell; of those the C with the smallest log loss
    is taken, for with few examples the metric moves in steps too coarse to tell neighbours apart.
    Features are centred and divided by the root of their standard deviation (Pareto scaling, van
    den Berg et al. 2006, BMC Genomics 7:142, table 1): over six pairs of data and backbone the
    cross-validated loss of the root was the smallest, or within 0.006 nats of it. Without a metric
    the log loss alone decides. A fit has one BLAS thread, see ARCHITECTURE.md.
    """
    splits = list(folds(labels, known.groups, seed))
    with threadpool_limits(limits=1):
        heads = LinearHeads(features, labels, known)
        found = _cross_validate(heads, splits, metric, progress) if splits else {}
        strength = _strength(found, labels, metric) if found else FEWEST
        head = heads.of_all(strength)
    nothing = np.full((len(labels), len(head.bias)), np.nan, dtype=np.float32)
    scores = {c: (each.loss, each.accuracy) for c, each in found.items()}
    held_out = found[strength].logits if found else nothing
    return Probe(head, strength, len(splits), scores, held_out)


def fit_at(
    features: Array,
    labels: Array,
    strength: float,
    known: Known = NOTHING,
    *,
    tolerance: float = KEPT,
) -> LinearHead:
    """Fit a head as `fit_probe` does, with a C that is known."""
    with threadpool_limits(limits=1):
        return LinearHeads(features, labels, known).of_all(strength, tolerance=tolerance)


def ranks_within(labels: Array, order: Array) -> Array:
    """Return float [N]: what share of its class, int [N], comes before each example in an order.

    >>> ranks_within(np.array([0, 0, 1, 1]), np.array([1, 0, 2, 3])).tolist()
    [0.5, 0.0, 0.0, 0.5]
    """
    ranks = np.empty(len(labels))
    for label in np.unique(labels):
        own = order[labels[order] == label]
        ranks[own] = np.arange(len(own)) / len(own)
    return ranks


def folds(
    labels: Array, groups: Array | None, seed: int, *, most: int = MAX_FOLDS
) -> Iterator[tuple[Array, Array]]:
    """Yield rows to fit on and rows held out, stratified, at most 5 times.

    None where a class has one example only; a fold whose training half lacks a class is left out.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    count = int(min(most, np.bincount(labels).min()))
    if groups is not None:
        count = min(count, len(np.unique(groups)))
    if count < 2:
        return
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    splitter = kind(n_splits=count, shuffle=True, random_state=seed)
    classes = len(np.unique(labels))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # group folds may be uneven: that is known
        for train, held_out in splitter.split(labels, labels, groups):
            if len(np.unique(labels[train])) == classes:
                yield train, held_out


def held_out_by(
    ways: Sequence[Callable[[Array, Array], LinearHead]],
    features: Array,
    labels: Array,
    groups: Array | None,
    seed: int,
) -> Array:
    """Return cross-validated logits [W, N, C] by each way to fit features [M, D] to labels [M].

    The folds are those of `fit_probe`; NaN where nothing could be held out.
    """
    said = np.full((len(ways), len(labels), int(labels.max()) + 1), np.nan)
    for fitted, out in folds(labels, groups, seed):
        for place, fit in enumerate(ways):
            said[place, out] = fit(features[fitted], labels[fitted]).logits(features[out])
    return said


@dataclass(frozen=True)
class _StrengthTrial:
    """One strength, cross-validated: means over the folds, and held-out logits.

    The loss is in nats; logits are float32 [N, C], by the fit on the other folds, NaN where none
    held an example out; `value` is the metric of all that were, 0 without a metric.
    """

    loss: float
    accuracy: float
    logits: Array
    value: float


def _cross_validate(
    heads: LinearHeads, splits: list[tuple[Array, Array]], metric: str | None, progress: Progress
) -> dict[float, _StrengthTrial]:
    """Return what every strength tried comes to.

    That is up to where the loss has clearly risen and the metric is not at its best: weak penalties
    take most of the time, and nothing comes back after the loss has turned.
    """
    tried: dict[float, _StrengthTrial] = {}
    subsets = [each for each, _ in splits]
    most = max(1, SIDE_BY_SIDE // heads.logits)
    if heads.logits > WORTH_A_THREAD:
        most = min(most, -(-len(subsets) // 2))
    parts = [subsets[start : start + most] for start in range(0, len(subsets), most)]
    paths = [heads.walk(part, STRENGTHS) for part in parts]
    for done, strength in enumerate(STRENGTHS, start=1):
        fitted = [head for part in side_by_side(next, paths) for head in part]
        before, last = [*tried.values()], _judged(heads, splits, fitted, metric)
        tried[strength] = last
        progress(done, len(STRENGTHS))
        risen = any(last.loss > RISEN * each.loss for each in before)
        if risen and not all(last.value > each.value for each in before):
            progress(len(STRENGTHS), len(STRENGTHS))
            break
    return tried


def held(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Return truth and decisions int [M] of what was held out: rows of logits without a NaN."""
    there = ~np.isnan(logits).any(axis=1)
    return labels[there], logits[there].argmax(axis=1)


def _strength(found: dict[float, _StrengthTrial], labels: Array, metric: str | None) -> float:
    """Return the C with the least loss among those that the metric cannot tell from the best."""
    alike, best = [*found], max(found.values(), key=lambda each: each.value)
    if metric is not None:
        errors = {c: _error(best, each, labels, metric) for c, each in found.items()}
        alike = [c for c, each in found.items() if best.value - each.value <= errors[c]]
    return min(alike, key=lambda c: found[c].loss)


def _error(one: _StrengthTrial, other: _StrengthTrial, labels: Array, metric: str) -> float:
    """Return the standard error of a difference of the metric: a paired bootstrap."""
    (truth, first), (_, second) = held(one.logits, labels), held(other.logits, labels)
    if (first == second).all():
        return 0.0

    def of(truth: Array, decided: Array) -> float:
        return METRICS[metric](truth, decided, one.logits.shape[1])

    return float(differences(second, first, truth, of, ERROR_DRAWS, seed=0).std())


def _judged(
    heads: LinearHeads,
    splits: list[tuple[Array, Array]],
    fitted: list[LinearHead],
    metric: str | None,
) -> _StrengthTrial:
    labels, losses, right = heads.labels, [], []
    said = np.full((len(labels), len(fitted[0].bias)), np.nan, dtype=np.float32)
    for (_, held_out), head in zip(splits, fitted, strict=True):
        logits, truth = head.logits(heads.features[held_out]), labels[held_out]
        counts = None if heads.weights is None else heads.weights[held_out]
        losses.append(log_loss(logits, truth, counts))
        right.append(float(np.average(logits.argmax(axis=1) == truth, weights=counts)))
        said[held_out] = logits
    value = 0.0 if metric is None else METRICS[metric](*held(said, labels), said.shape[1])
    return _StrengthTrial(float(np.mean(losses)), float(np.mean(right)), said, value)
