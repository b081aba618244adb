"""Resamples what was measured, for statistics without an interval in closed form; and ROC areas."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.stats.proportions import z_value

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Area:
    """The area under a ROC curve with its 95 % interval: 0.5 tells nothing apart, 1 everything.

    It is the chance that a positive scores higher than a negative; ties count half.
    """

    auc: float
    ci95: tuple[float, float]


def area(positives: Array, negatives: Array, level: float = 0.95) -> Area:
    """Return the area for scores [M] of positives and [N] of negatives, two at least of each.

    The variance is that of DeLong et al. (1988, Biometrics 44:837-845, equation 4), from the
    placement of every example among those of the other kind; the interval is taken on the logit
    scale (Pepe 2003, section 5.2.3), so that it stays within 0 and 1. Where all are told apart the
    variance is 0, and the area is taken to lack half a pair.

    >>> found = area(np.array([3.0, 2.0, 4.0, 1.0]), np.array([0.0, 1.0, 2.0, 0.5]))
    >>> found.auc, [round(end, 2) for end in found.ci95]
    (0.875, [0.43, 0.99])
    """
    above = _placements(positives, negatives)
    below = _placements(negatives, positives)
    auc, pairs = float(above.mean()), len(positives) * len(negatives)
    inside = min(max(auc, 0.5 / pairs), 1 - 0.5 / pairs)
    deviation = sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    centre = log(inside / (1 - inside))
    reach = z_value((1 + level) / 2) * deviation / (inside * (1 - inside))
    return Area(auc, (_logistic(centre - reach), _logistic(centre + reach)))


def _logistic(log_odds: float) -> float:
    return 1 / (1 + exp(min(-log_odds, 700.0)))


def _placements(scores: Array, others: Array) -> Array:
    """Return the share of the others that each score [N] lies above; ties count half."""
    ordered = np.sort(others)
    under = np.searchsorted(ordered, scores, side="left")
    not_over = np.searchsorted(ordered, scores, side="right")
    shares: Array = (under + not_over) / (2 * len(others))
    return shares


def percentile_bounds(draws: NDArray[Any], level: float) -> tuple[float, float]:
    """Two-sided percentile interval of bootstrap draws [R], by symmetric order statistics.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    >>> percentile_bounds(np.arange(1000.0), 0.95)
    (25.0, 974.0)
    """
    ordered = np.sort(draws)
    skip = int((1 - level) / 2 * len(ordered) + 1e-9)
    return float(ordered[skip]), float(ordered[-1 - skip])
