"""Fits a linear probe: logistic regression on frozen features, its strength cross-validated.

It does not run the backbone: it is given features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.linear_heads import NOTHING, Heads, Known

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.backbone.head import LinearHead

Array = np.ndarray[Any, Any]

STRENGTHS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Values of C (inverse L2 strength) tried, on features of mean spread 1."""
MAX_FOLDS = 5
RISEN = 1.02
"""Times the smallest cross-validated loss at which no weaker penalty is tried: on 36 subsets of
spoken digits, of 3 to 40 examples a class, some with wrong labels, none came back from 1.005."""
SIDE_BY_SIDE = 2**25
"""Logits (128 MiB) up to which folds are fitted side by side."""
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
        found = _cross_validate(heads, splits, progress) if splits else {}
        strength = min(found, key=lambda c: found[c].loss) if found else FEWEST
        head = heads.of_all(strength)
    nothing = np.full((len(labels), len(head.bias)), np.nan, dtype=np.float32)
    scores = {c: (each.loss, each.accuracy) for c, each in found.items()}
    held_out = found[strength].logits if found else nothing
    return Probe(head, strength, len(splits), scores, held_out)


def fit_at(features: Array, labels: Array, strength: float) -> LinearHead:
    """Fit a head as `fit_probe` does, with a C that is known."""
    with threadpool_limits(limits=1):
        return Heads(features, labels, NOTHING).of_all(strength)


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


@dataclass(frozen=True)
class _Tried:
    """One strength, cross-validated.

    Attributes:
        loss: mean log loss over the folds, nats.
        accuracy: mean over the folds.
        logits: float32 [N, C], by the fit on the other folds, NaN where none held it out.
    """

    loss: float
    accuracy: float
    logits: Array


def _cross_validate(
    heads: Heads, splits: list[tuple[Array, Array]], progress: Progress
) -> dict[float, _Tried]:
    """Return what every strength tried comes to.

    That is up to where the loss has clearly risen: weak penalties take most of the time, and
    nothing comes back after the loss has turned.
    """
    tried: dict[float, _Tried] = {}
    paths = [heads.walk(part, STRENGTHS) for part in _parts(heads, [each for each, _ in splits])]
    for done, strength in enumerate(STRENGTHS, start=1):
        fitted = [head for path in paths for head in next(path)]
        tried[strength] = _judged(heads, splits, fitted)
        progress(done, len(STRENGTHS))
        if tried[strength].loss > RISEN * min(each.loss for each in tried.values()):
            progress(len(STRENGTHS), len(STRENGTHS))
            break
    return tried


def _parts(heads: Heads, subsets: list[Array]) -> list[list[Array]]:
    """Return the subsets in parts that are fitted side by side, as many as memory is meant for."""
    most = max(1, SIDE_BY_SIDE // heads.logits)
    return [subsets[start : start + most] for start in range(0, len(subsets), most)]


def _judged(heads: Heads, splits: list[tuple[Array, Array]], fitted: list[LinearHead]) -> _Tried:
    labels, losses, right = heads.labels, [], []
    said = np.full((len(labels), len(fitted[0].bias)), np.nan, dtype=np.float32)
    for (_, held_out), head in zip(splits, fitted, strict=True):
        logits, truth = head.logits(heads.features[held_out]), labels[held_out]
        counts = None if heads.weights is None else heads.weights[held_out]
        losses.append(log_loss(logits, truth, counts))
        right.append(float(np.average(logits.argmax(axis=1) == truth, weights=counts)))
        said[held_out] = logits
    return _Tried(float(np.mean(losses)), float(np.mean(right)), said)


def log_loss(logits: Array, labels: Array, weights: Array | None = None) -> float:
    """Return the mean cross-entropy in nats of logits [N, C] against class indices [N].

    Weights [N] say how much an example counts, all alike without.

    >>> round(log_loss(np.zeros((3, 2)), np.array([0, 1, 1])), 4)
    0.6931
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float(np.average(normaliser - shifted[np.arange(len(labels)), labels], weights=weights))
