"""Says how far single times lie apart, and how far the processes that they were taken in.

It does not drop a time for lying far out: outliers are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.quantiles import quantile
from edgetransfer.measure.ratio import student

if TYPE_CHECKING:
    from numpy.typing import NDArray

Interval = tuple[float, float]


def mad(values: NDArray[Any]) -> float:
    """Median absolute deviation from the median of a sample [N], not scaled.

    >>> mad(np.array([1, 2, 3, 4, 100]))
    1.0
    """
    return quantile(np.abs(values - quantile(values, 0.5)), 0.5)


def rel_iqr(values: NDArray[Any]) -> float:
    """Distance of the quartiles of a sample [N] over its median; 0 where that is 0.

    >>> rel_iqr(np.array([8, 9, 10, 11, 12]))
    0.2
    """
    middle = quantile(values, 0.5)
    return (quantile(values, 0.75) - quantile(values, 0.25)) / middle if middle else 0.0


def outliers(values: NDArray[Any]) -> tuple[int, int]:
    """Count values of a sample [N] beyond 1.5, and beyond 3, distances of the quartiles.

    Source: Tukey, Exploratory Data Analysis (1977), fences.

    >>> outliers(np.array([8, 9, 10, 11, 12, 16, 40]))
    (1, 1)
    """
    low, high = quantile(values, 0.25), quantile(values, 0.75)
    beyond = np.maximum(low - values, values - high)
    far, very_far = beyond > 1.5 * (high - low), beyond > 3 * (high - low)
    return int(np.count_nonzero(far)), int(np.count_nonzero(very_far))


def between(medians: NDArray[Any]) -> float | None:
    """Standard deviation of the processes' medians [K] over their mean, None for one process.

    >>> between(np.array([10.0, 10.1, 9.9])), between(np.array([10.0]))
    (0.01, None)
    """
    if len(medians) < 2 or not medians.mean():
        return None
    return float(round(medians.std(ddof=1) / medians.mean(), 12))


def interval_of_processes(medians: NDArray[Any], level: float = 0.95) -> Interval | None:
    """Student's interval of the mean of the processes' medians [K], None for one process.

    It is honest about what differs from process to process, which order statistics of pooled
    samples do not see (Kalibera and Jones, ISMM 2013).

    >>> [round(end, 3) for end in interval_of_processes(np.array([10.0, 10.1, 9.9]))]
    [9.752, 10.248]
    """
    count = len(medians)
    if count < 2:
        return None
    reach = student(count - 1, level) * medians.std(ddof=1) / np.sqrt(count)
    return float(medians.mean() - reach), float(medians.mean() + reach)
