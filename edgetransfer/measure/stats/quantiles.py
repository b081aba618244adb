"""Percentiles of a sample, their distribution-free intervals by order statistics, and spreads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.stats.proportions import smallest_n
from edgetransfer.measure.stats.ratio import student

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


def quantile(values: NDArray[Any], p: float) -> float:
    """Smallest value that at least a fraction p of the sample [N] does not exceed.

    It is always one of the values (type 1 of Hyndman and Fan, The American Statistician 50,
    1996), so a percentile and the ends of its interval are the same kind of thing.

    >>> quantile(np.array([4, 1, 3, 2]), 0.5)
    2.0
    """
    return float(np.quantile(values, p, method="inverted_cdf"))


def quantile_ci(values: NDArray[Any], p: float, level: float = 0.95) -> tuple[float, float] | None:
    """Interval of the p quantile of what the sample [N] was drawn from.

    Source: David and Nagaraja, Order Statistics (2003), section 7.1. Exact for independent
    draws of a continuous quantity; latencies are somewhat autocorrelated, so read it with the
    spread between processes.

    Both ends, or None where the sample is too small (see `samples_needed`).

    >>> quantile_ci(np.arange(1, 101), 0.5)
    (40.0, 61.0)
    >>> quantile_ci(np.arange(35), 0.9) is None
    True
    """
    ranks = _ranks(len(values), p, level)
    if ranks is None:
        return None
    ordered = np.sort(values)
    return float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1])


def samples_needed(p: float, level: float = 0.95) -> int:
    """Smallest sample that has an interval for the p quantile.

    >>> samples_needed(0.5), samples_needed(0.9), samples_needed(0.99)
    (6, 36, 368)
    """
    return _smallest(lambda n: _ranks(n, p, level) is not None, p)


def early_stopping(values: NDArray[Any], p: float, confidence: float = 0.99) -> float | None:
    """Estimate the p quantile of a sample [N] from above, as MLPerf's LoadGen does.

    Source: MLPerf inference rules, appendix "Early Stopping", tolerance 0: with t slower
    queries of N allowed at this confidence, the t-th slowest is reported.

    The estimate, or None where the sample is too small (see `early_stopping_needed`).

    >>> early_stopping(np.arange(1, 101), 0.9), early_stopping(np.arange(63), 0.9)
    (98.0, None)
    """
    allowed = _allowed_over(len(values), p, confidence)
    return float(np.sort(values)[-allowed]) if allowed else None


def early_stopping_needed(p: float, confidence: float = 0.99) -> int:
    """Smallest sample that has an early-stopping estimate of the p quantile.

    >>> [early_stopping_needed(p) for p in (0.9, 0.95, 0.99)]
    [64, 130, 662]
    """
    return _smallest(lambda n: _allowed_over(n, p, confidence) > 0, p)


def _smallest(decides: Callable[[int], bool], p: float) -> int:
    found = smallest_n(decides)
    if found is None:
        msg = f"no sample is large enough for the {p} quantile"
        raise ValueError(msg)
    return found


def _allowed_over(n: int, p: float, confidence: float) -> int:
    """Largest number of slower queries by which the quantile is still met at the confidence."""
    from scipy.special import bdtr

    over = np.arange(n + 1)
    return int(np.count_nonzero(bdtr(over, n, 1 - p) <= 1 - confidence)) - 1


def _ranks(n: int, p: float, level: float) -> tuple[int, int] | None:
    """Ranks, counted from 1, of the interval's ends; each side misses at most (1 - level) / 2."""
    from scipy.special import bdtr, bdtrc

    miss = (1 - level) / 2
    below = np.arange(n + 1)
    low = int(np.count_nonzero(bdtr(below, n, p) <= miss))
    high = n + 1 - int(np.count_nonzero(bdtrc(below, n, p) <= miss)) + 1
    return (low, high) if low >= 1 and high <= n else None
