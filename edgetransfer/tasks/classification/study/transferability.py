"""Scores features by how well they will transfer, without fitting a network: LogME and the H-score.

Scores compare features of the same examples with each other; alone they say nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = np.ndarray[Any, Any]
MAX_STEPS, CLOSE = 100, 1e-5


def log_evidence(features: Array, labels: Array) -> float:
    """Return LogME: the mean log evidence of a Bayesian linear model, a class and an example.

    You et al. 2021, "LogME: practical assessment of pre-trained models for transfer learning",
    algorithm 2, with its fixed-point steps for the prior's precision alpha and the noise's beta
    (MacKay 1992). Higher is better. Features are taken as they are, without an intercept.

    Features are [N, D], labels int [N] from 0 to C - 1.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 2
    >>> told, noise = rng.normal(size=(2, 60, 4))
    >>> told[:, 0] += 3 * labels
    >>> log_evidence(told, labels) > log_evidence(noise, labels)
    True
    """
    with threadpool_limits(limits=1):
        left, singular, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    kept = singular > 1e-10 * max(float(singular[0]), 1e-300)
    left, squared = left[:, kept], singular[kept] ** 2
    targets = [(labels == label).astype(np.float64) for label in range(int(labels.max()) + 1)]
    shape = (len(features), features.shape[1])
    return float(np.mean([_evidence(left, squared, target, shape) for target in targets]))


def _evidence(left: Array, squared: Array, target: Array, shape: tuple[int, int]) -> float:
    """Maximise the evidence of one target [N] over alpha and beta; return it over N."""
    count, width = shape
    along = (left.T @ target) ** 2  # what the features explain of the target, by direction
    beyond = max(float(target @ target - along.sum()), 0.0)
    alpha = beta = 1.0
    for _ in range(MAX_STEPS):
        ratio = alpha / beta
        gamma = float((squared / (squared + ratio)).sum())
        norm, rest = _solution(squared, along, beyond, ratio)
        before, alpha, beta = ratio, gamma / max(norm, 1e-12), (count - gamma) / max(rest, 1e-12)
        if abs(alpha / beta - before) <= CLOSE * before:
            break
    norm, rest = _solution(squared, along, beyond, alpha / beta)
    determinant = np.log(alpha + beta * squared).sum() + (width - len(squared)) * np.log(alpha)
    evidence = width * np.log(alpha) + count * np.log(beta) - determinant
    evidence -= beta * rest + alpha * norm + count * np.log(2 * np.pi)
    return float(evidence) / (2 * count)


def _solution(squared: Array, along: Array, beyond: float, ratio: float) -> tuple[float, float]:
    """Return |m|^2 of the posterior mean m, and the squared residual of its fit."""
    norm = (squared * along / (squared + ratio) ** 2).sum()
    rest = (along * (ratio / (squared + ratio)) ** 2).sum() + beyond
    return float(norm), float(rest)


def h_score(features: Array, labels: Array) -> float:
    """Return the regularised H-score: the variance between classes that features explain.

    Bao et al. 2019, "An information-theoretic approach to transferability in task transfer
    learning": the trace of the inverse covariance times the covariance of the class means. Its
    covariance is shrunk as Ledoit and Wolf (2004) and the means by the same share, for with few
    examples the plain score mostly measures the number of features (Ibrahim et al. 2021, "Newer is
    not always better: rethinking transferability metrics", section 3). Higher is better; at most C
    - 1. Features are [N, D], labels int [N] from 0 to C - 1.
    """
    centred = features - features.mean(axis=0, dtype=np.float64)
    count, width = centred.shape
    with threadpool_limits(limits=1):
        _, singular, rotation = np.linalg.svd(centred, full_matrices=False)
        variances = singular**2 / count
        shrinkage = ledoit_wolf_shrinkage(centred, variances)
        each_class = range(labels.max() + 1)
        means = np.stack([centred[labels == each].mean(axis=0) for each in each_class]) @ rotation.T
    level = variances.sum() / width
    shrunk = (1 - shrinkage) * variances + shrinkage * level
    if level <= 0:
        return 0.0
    weights = np.bincount(labels) / count
    between = (weights[:, None] * means**2).sum(axis=0)
    return float((1 - shrinkage) * (between / np.maximum(shrunk, 1e-12 * level)).sum())


def ledoit_wolf_shrinkage(centred: Array, variances: Array) -> float:
    """Return how far a covariance is drawn to a multiple of the identity, 0 to 1.

    Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance matrices",
    section 3.3, from norms alone: nothing of size D x D is made. Features [N, D] are of mean 0;
    variances [min(N, D)] are along the principal components.
    """
    count, width = centred.shape
    level = variances.sum() / width
    distance = (variances**2).sum() / width - level**2  # |S - level I|^2 / D
    if distance <= 0:  # all directions vary alike: nothing to shrink
        return 0.0
    fourth: NDArray[np.float64] = (centred.astype(np.float64) ** 2).sum(axis=1) ** 2
    noise = (fourth.sum() / count - (variances**2).sum()) / (count * width)
    return float(min(max(noise, 0.0), distance) / distance)
