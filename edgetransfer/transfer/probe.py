"""Fits a linear probe: logistic regression on frozen features, its strength cross-validated.

It does not run the backbone: it is given features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.classifier import LinearHead

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray[Any, Any]

STRENGTHS = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Values of C (inverse L2 strength) tried, on standardised features."""
MAX_FOLDS = 5
MAX_ITERATIONS = 500


@dataclass(frozen=True)
class Probe:
    """A fitted head and how its strength was chosen.

    Attributes:
        head: applies to raw features: the standardisation is folded into it.
        strength: the C that was taken.
        folds: folds of the cross-validation; 0 where a class has one example only.
        cross_validated: mean (log loss, accuracy) over the folds for every C tried.
    """

    head: LinearHead
    strength: float
    folds: int
    cross_validated: dict[float, tuple[float, float]]


def fit_probe(
    features: Array,
    labels: Array,
    *,
    groups: Array | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Probe:
    """Fit the head on features float [N, D] and class indices int [N].

    The C with the smallest cross-validated log loss is taken: with few examples accuracy moves in
    steps too coarse to choose by. Features are standardised first, which Kornblith et al. (2019,
    "Do better ImageNet models transfer better?", appendix A) leave out; with it one range of C
    fits every backbone.

    Args:
        features: one row an example.
        labels: every class from 0 to C - 1 occurs.
        groups: int [N]; examples of one group are never on both sides of a fold.
        seed: of the folds.
        progress: told of fits done.
    """
    mean = features.mean(axis=0, dtype=np.float64)
    std = features.std(axis=0, dtype=np.float64)
    std[std < 1e-6 * max(float(std.max()), 1e-12)] = 1.0  # constant features carry nothing
    scaled = (features - mean) / std
    splits = list(_folds(labels, groups, seed))
    scores: dict[float, tuple[float, float]] = {}
    if splits:
        scores = _cross_validate(scaled, labels, splits, progress)
    strength = min(scores, key=lambda c: scores[c][0]) if scores else 0.1
    weight, bias = _fit(scaled, labels, [strength])[strength]
    weight = weight / std
    head = LinearHead(weight.astype(np.float32), (bias - weight @ mean).astype(np.float32))
    return Probe(head, strength, len(splits), scores)


def _folds(labels: Array, groups: Array | None, seed: int) -> Iterator[tuple[Array, Array]]:
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
    scaled: Array, labels: Array, splits: list[tuple[Array, Array]], progress: Progress
) -> dict[float, tuple[float, float]]:
    losses: dict[float, list[float]] = {strength: [] for strength in STRENGTHS}
    right: dict[float, list[float]] = {strength: [] for strength in STRENGTHS}
    for done, (train, held_out) in enumerate(splits, start=1):
        fitted = _fit(scaled[train], labels[train], STRENGTHS)
        for strength, (weight, bias) in fitted.items():
            logits = scaled[held_out] @ weight.T + bias
            losses[strength].append(log_loss(logits, labels[held_out]))
            right[strength].append(float((logits.argmax(axis=1) == labels[held_out]).mean()))
        progress(done, len(splits))
    return {c: (float(np.mean(losses[c])), float(np.mean(right[c]))) for c in STRENGTHS}


def log_loss(logits: Array, labels: Array) -> float:
    """Return the mean cross-entropy in nats of logits [N, C] against class indices [N].

    >>> round(log_loss(np.zeros((3, 2)), np.array([0, 1, 1])), 4)
    0.6931
    """
    shifted = logits - logits.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    return float((normaliser - shifted[np.arange(len(labels)), labels]).mean())


def _fit(
    scaled: Array, labels: Array, strengths: tuple[float, ...] | list[float]
) -> dict[float, tuple[Array, Array]]:
    """Fit one head for each C, each starting from the one before: weight [C, D], bias [C]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=MAX_ITERATIONS, warm_start=True)
    fitted = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in sorted(strengths):
            model.set_params(C=strength).fit(scaled, labels)
            fitted[strength] = _all_classes(model.coef_, model.intercept_)
    return fitted


def _all_classes(weight: Array, bias: Array) -> tuple[Array, Array]:
    """Give both classes a row where scikit-learn keeps one for two: softmax of (-z/2, z/2)."""
    if len(bias) > 1:
        return weight.copy(), bias.copy()
    return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
