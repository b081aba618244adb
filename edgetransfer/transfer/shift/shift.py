"""Tells examples of two domains apart by their features, and weighs the one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgetransfer.transfer.head.probe import fit_probe

Array = np.ndarray[Any, Any]

LARGEST = 10.0
"""No example weighs more than this many times the mean."""
EFFECTIVE = 0.5
"""Least share of the labelled examples that the effective sample size may come down to."""
FEWEST = 5
"""Examples of each domain without which nothing is told apart: as many as folds."""


@dataclass(frozen=True)
class Weights:
    """What labelled examples weigh when they are to stand for device examples.

    Attributes:
        values: float32 [N], mean 1.
        exponent: between 0 (all alike) and 1 (the density ratio as estimated, bounded).
        effective: the effective sample size, ``sum(w)**2 / sum(w**2)`` (Kish 1965).
    """

    values: Array
    exponent: float
    effective: float


def domain_scores(labelled: Array, device: Array, *, seed: int = 0) -> Array:
    """Return the log odds [N + M] that an example is a device example, each by a fit without it.

    The domain classifier is the probe, cross-validated like any other. Its scores give the area
    that says how large the shift is (Ben-David et al. 2007, "Analysis of representations for
    domain adaptation", bound the error on the target by such a classifier's), and the ratio of
    densities (Bickel et al. 2009, "Discriminative learning under covariate shift"). Scores of
    examples that were fitted on would make both too large.

    Args:
        labelled: features float [N, D], N at least `FEWEST`.
        device: features float [M, D], M at least `FEWEST`.
        seed: of the folds.
    """
    rows = np.concatenate([labelled, device])
    domain = np.repeat([0, 1], [len(labelled), len(device)])
    logits = fit_probe(rows, domain, seed=seed).held_out
    return np.asarray(logits[:, 1] - logits[:, 0], dtype=np.float64)


def weigh(log_odds: Array) -> Weights:
    """Turn the log odds [N] of labelled examples into weights with a mean of 1.

    ``p(device | x) / p(labelled | x)`` is the ratio of densities up to a factor (Bickel et al.
    2009, section 4), by which the loss on labelled examples becomes that on device examples
    (Shimodaira 2000, "Improving predictive inference under covariate shift"). Where domains lie
    apart a few examples would carry all of it, so that it is flattened by the largest exponent
    (Shimodaira's lambda) that leaves an effective sample size of half the examples, and bounded.

    >>> found = weigh(np.log(np.array([1.0, 1.0, 1.0, 5.0])))
    >>> found.values.round(2).tolist(), found.exponent, round(found.effective, 2)
    ([0.5, 0.5, 0.5, 2.5], 1.0, 2.29)
    >>> found = weigh(np.array([0.0, 0.0, 0.0, 40.0]))
    >>> round(found.effective, 2)
    2.0
    """
    low, high = 0.0, 1.0
    values = _flattened(log_odds, high)
    if _effective(values) >= EFFECTIVE * len(values):
        return Weights(values, high, _effective(values))
    for _ in range(30):
        middle = (low + high) / 2
        enough = _effective(_flattened(log_odds, middle)) >= EFFECTIVE * len(values)
        low, high = (middle, high) if enough else (low, middle)
    values = _flattened(log_odds, low)
    return Weights(values, low, _effective(values))


def _flattened(log_odds: Array, exponent: float) -> Array:
    """Return float32 [N]: the ratios to a power, bounded, with a mean of 1."""
    ratios = np.exp(exponent * (log_odds - log_odds.max()))
    bounded = np.minimum(ratios, LARGEST * ratios.mean())
    values: Array = (bounded / bounded.mean()).astype(np.float32)
    return values


def _effective(weights: Array) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())
