"""Moves features of labelled examples to where those of the device lie, before a head is fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

Array = np.ndarray[Any, Any]

MEAN_PRIOR, COVARIANCE_PRIOR = 16, 64
"""Device examples that count as much as what labelled ones say of the device's mean, covariance."""
RIDGE = 1.0
"""Times the mean variance that is added to every direction before a root is taken."""


@dataclass(frozen=True)
class Alignment:
    """``moved = (features - mean) @ turn + towards``; mean, towards [D], turn [D, D]."""

    mean: Array
    turn: Array
    towards: Array

    def move(self, features: Array) -> Array:
        """Move features [..., D]; returns float32."""
        moved: Array = (features - self.mean) @ self.turn + self.towards
        return moved.astype(np.float32)


def fit_alignment(labelled: Array, device: Array) -> Alignment:
    """Align mean and covariance of labelled features [N, D] with those of device features [M, D].

    CORAL (Sun, Feng and Saenko 2016, "Return of frustratingly easy domain adaptation",
    algorithm 1): whiten with the covariance of the labelled, colour with that of the device, both
    with a ridge. Theirs is on features of unit variance as well, and leaves means to be taken off;
    here the mean moves too, which brings most of the gain (`docs/domain-shift.md`). A covariance of
    few examples is mostly noise, so that the device's is drawn towards the labelled examples', as
    if that had been seen in `COVARIANCE_PRIOR` of its own; likewise the mean. Without device
    examples nothing would move.

    Classes must be about as frequent on the device as among the labelled examples: where they are
    not, the difference between classes is taken for one between domains.

    >>> rows = np.random.default_rng(0).normal(size=(4000, 2))
    >>> alignment = fit_alignment(rows, 3.0 * rows + 5.0)
    >>> moved = alignment.move(rows)  # by the ridge 2.2 times as wide, not 3: sqrt((9 + 1) / 2)
    >>> moved.mean(axis=0).round(1).tolist(), round(float(moved.std()), 1)
    ([5.0, 5.0], 2.2)
    """
    with threadpool_limits(limits=1):
        mean, there = (rows.mean(axis=0, dtype=np.float64) for rows in (labelled, device))
        own, other = _covariance(labelled, mean), _covariance(device, there)
        seen = len(device) / (len(device) + MEAN_PRIOR)
        towards = seen * there + (1 - seen) * mean
        seen = len(device) / (len(device) + COVARIANCE_PRIOR)
        other = seen * other + (1 - seen) * own
        floor = max(RIDGE * np.trace(own) / len(own), 1e-12)
        turn = _power(own, floor, -0.5) @ _power(other, floor, 0.5)
    return Alignment(mean, turn, towards)


def _covariance(features: Array, mean: Array) -> Array:
    centred = features - mean
    product: Array = centred.T @ centred / len(features)
    return product


def _power(covariance: Array, floor: float, exponent: float) -> Array:
    """Return the power of a symmetric matrix with something added to its diagonal."""
    values, vectors = np.linalg.eigh(covariance)
    powered: Array = (vectors * (np.maximum(values, 0.0) + floor) ** exponent) @ vectors.T
    return powered
