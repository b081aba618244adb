"""Fits a linear probe: logistic regression on frozen features, its strength cross-validated.

It does not run the backbone: it is given features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from edgetransfer.backbone.head import LinearHead
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.logistic import Beside, LogisticPath
from edgetransfer.transfer.prior import source_prior
from edgetransfer.transfer.scaling import scaling

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Array = np.ndarray[Any, Any]

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Values of C (inverse L2 strength) tried, on features of mean spread 1."""
MAX_FOLDS = 5
RISEN = 1.02
"""Times the smallest cross-validated loss at which no weaker penalty is tried: on 36 subsets of
spoken digits, of 3 to 40 examples a class, some with wrong labels, none came back from 1.005."""
FEW = 20
"""Examples a class, on average, up to which the probe is fitted on several looks at each."""
LOOKS = 6
"""Looks beside the picture itself. In 5-way episodes over seven pairs of data and backbone they
gave 0.2 to 2.3 points at one example a class and -0.1 to 4.7 at ten (`docs/few-labels.md`)."""
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


@dataclass(frozen=True)
class Known:
    """What is known of N examples beside their features and labels.

    Attributes:
        groups: int [N]; examples of one group are never on both sides of a fold.
        looks: float [L, N, D], features of other looks at the same examples: fitted on, never
            judged by, and together with the first look as heavy as one example.
        source: the classifier that the backbone was pretrained with, on the same features: the
            head is pulled to what that says of the classes (`prior.source_prior`), not to zero.
        weights: float [N], mean 1: how much an example counts, where it is fitted on and where it
            is held out (importance-weighted cross-validation, Sugiyama et al. 2007).
    """

    groups: Array | None = None
    looks: Array | None = None
    source: LinearHead | None = None
    weights: Array | None = None


NOTHING = Known()


def fit_probe(
    features: Array,
    labels: Array,
    *,
    known: Known = NOTHING,
    seed: int = 0,
    progress: Progress = silent,
) -> Probe:
    """Fit the head on features float [N, D] and class indices int [N].

    The C with the smallest cross-validated log loss is taken: with few examples accuracy moves in
    steps too coarse to choose by. Features are centred and divided by the root of their standard
    deviation (Pareto scaling, van den Berg et al. 2006, BMC Genomics 7:142, table 1). Dividing by
    all of it lifts the noise of features that hardly vary, by none of it mutes small ones that
    tell classes apart: over six pairs of data and backbone the cross-validated loss of the root
    was the smallest, or within 0.006 nats of it.

    One BLAS thread is used: on two busy cores two threads that wait for each other in a loop took
    219 s where one took 5 s.

    Args:
        features: one row an example.
        labels: every class from 0 to C - 1 occurs.
        known: what else is known of the examples.
        seed: of the folds.
        progress: told of fits done.
    """
    splits = list(folds(labels, known.groups, seed))
    with threadpool_limits(limits=1):
        heads = Heads(features, labels, known)
        scores, said = _cross_validate(heads, splits, progress) if splits else ({}, {})
        strength = min(scores, key=lambda c: scores[c][0]) if scores else FEWEST
        head = next(heads.walk(np.arange(len(labels)), [strength], tolerance=1e-6))
    nothing = np.full((len(labels), len(head.bias)), np.nan, dtype=np.float32)
    return Probe(head, strength, len(splits), scores, said.get(strength, nothing))


def fit_at(features: Array, labels: Array, strength: float) -> LinearHead:
    """Fit a head as `fit_probe` does, with a C that is known."""
    with threadpool_limits(limits=1):
        heads = Heads(features, labels, NOTHING)
        return next(heads.walk(np.arange(len(labels)), [strength], tolerance=1e-6))


class Heads:
    """Fits heads for raw features [N, D] on some of the examples, one for each strength.

    Its path is fitted on looks at examples: [first look of all, second look of all, ...].
    """

    def __init__(self, features: Array, labels: Array, known: Known) -> None:
        looks = known.looks
        self._shown = features if looks is None else np.concatenate([features, *looks])
        self._mean, self._scale = scaling(self._shown)
        self._path = LogisticPath((self._shown - self._mean) / self._scale)
        self._source = known.source
        self.features, self.labels, self.weights = features, labels, known.weights

    def walk(
        self, examples: Array, strengths: Iterable[float], *, tolerance: float = 1e-4
    ) -> Iterator[LinearHead]:
        """Fit on all looks at some examples, int [M], so that each example weighs one."""
        looks = len(self._shown) // len(self.features)
        rows = (len(self.labels) * np.arange(looks)[:, None] + examples).ravel()
        truth = np.tile(self.labels[examples], looks)
        shares = [strength / looks for strength in strengths]
        prior = None
        if self._source is not None:
            prior = source_prior(self._source, self._shown[rows], truth)
        offsets = None if prior is None else prior.logits(self._shown[rows])
        counts = None if self.weights is None else np.tile(self.weights[examples], looks)
        beside = Beside(offsets, counts)
        for weight, bias in self._path.walk(
            rows, truth, shares, tolerance=tolerance, beside=beside
        ):
            yield self._unscaled(weight, bias, prior)

    def _unscaled(self, weight: Array, bias: Array, prior: LinearHead | None) -> LinearHead:
        """Return the head that applies to raw features."""
        weight = weight / self._scale
        bias = bias - weight @ self._mean
        if prior is not None:
            weight, bias = weight + prior.weight, bias + prior.bias
        return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


def folds(labels: Array, groups: Array | None, seed: int) -> Iterator[tuple[Array, Array]]:
    """Yield rows to fit on and rows held out, stratified, at most 5 times.

    None where a class has one example only; a fold whose training half lacks a class is left out.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    count = int(min(MAX_FOLDS, np.bincount(labels).min()))
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


def _cross_validate(
    heads: Heads, splits: list[tuple[Array, Array]], progress: Progress
) -> tuple[dict[float, tuple[float, float]], dict[float, Array]]:
    """Return mean (log loss, accuracy), and logits where held out, of every strength tried.

    That is up to where the loss has clearly risen: weak penalties take most of the time, and
    nothing comes back after the loss has turned.
    """
    features, labels = heads.features, heads.labels
    paths = [heads.walk(train, STRENGTHS) for train, _ in splits]
    scores: dict[float, tuple[float, float]] = {}
    said: dict[float, Array] = {}
    for done, strength in enumerate(STRENGTHS, start=1):
        losses, right = [], []
        said[strength] = np.full((len(labels), int(labels.max()) + 1), np.nan, dtype=np.float32)
        for (_, held_out), head in zip(splits, map(next, paths), strict=True):
            logits, truth = head.logits(features[held_out]), labels[held_out]
            counts = None if heads.weights is None else heads.weights[held_out]
            losses.append(log_loss(logits, truth, counts))
            right.append(float(np.average(logits.argmax(axis=1) == truth, weights=counts)))
            said[strength][held_out] = logits
        scores[strength] = (float(np.mean(losses)), float(np.mean(right)))
        progress(done, len(STRENGTHS))
        if scores[strength][0] > RISEN * min(loss for loss, _ in scores.values()):
            progress(len(STRENGTHS), len(STRENGTHS))
            break
    return scores, said


def log_loss(logits: Array, labels: Array, weights: Array | None = None) -> float:
    """Return the mean cross-entropy in nats of logits [N, C] against class indices [N].

    Weights [N] say how much an example counts, all alike without.

    >>> round(log_loss(np.zeros((3, 2)), np.array([0, 1, 1])), 4)
    0.6931
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float(np.average(normaliser - shifted[np.arange(len(labels)), labels], weights=weights))
