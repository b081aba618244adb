"""Percentiles of a sample and their distribution-free intervals by order statistics.

It does not extrapolate: where the sample is too small for a bound there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.measure.proportions import smallest_n

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


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

    Returns:
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
    found = smallest_n(lambda n: _ranks(n, p, level) is not None)
    if found is None:
        msg = f"no sample is large enough for the {p} quantile"
        raise ValueError(msg)
    return found


def early_stopping(values: NDArray[Any], p: float, confidence: float = 0.99) -> float | None:
    """Estimate the p quantile of a sample [N] from above, as MLPerf's LoadGen does.

    Source: MLPerf inference rules, appendix "Early Stopping", tolerance 0: with t slower
    queries of N allowed at this confidence, the t-th slowest is reported.

    Returns:
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
    found = smallest_n(lambda n: _allowed_over(n, p, confidence) > 0)
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
