"""How well logits decide: by a metric, then by their log loss at the temperature that mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgetransfer.tasks.classification.judge.metrics import METRICS, decisions

if TYPE_CHECKING:
    from collections.abc import Callable


Array = np.ndarray[Any, Any]
HOTTEST = 20.0
WORST = -1e9
"""Stands for minus infinity, which JSON has not."""


class Score(NamedTuple):
    """A larger one is better: the metric decides, the second number only between equals.

    Attributes:
        value: of the metric.
        mended: minus the log loss at its own temperature, in nats; `WORST` of logits that are not
            finite.
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
