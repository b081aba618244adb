"""Intervals of a proportion, of a percentile of a sample, and of what has none in closed form.

Proportions by Clopper-Pearson and Wilson, with the search for a sample size; percentiles by order
statistics, free of a distribution; the rest by resampling; and ROC areas.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_N = 10**9
Interval = tuple[float, float]
_MISS = (1 - 0.95) / 2
"""What an interval misses on each side."""
_SURE = 0.99
"""Confidence of MLPerf's early stopping."""


def z_value(level: float) -> float:
    """Quantile of the standard normal distribution.

    >>> round(z_value(0.95), 3)
    1.645
    """
    return NormalDist().inv_cdf(level)


def student(freedom: float, level: float = 0.95) -> float:
    """Two-sided quantile of Student's distribution.

    >>> round(student(4), 3)
    2.776
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))


def clopper_pearson_upper(successes: float, n: float, level: float = 0.95) -> float:
    """One-sided upper bound of a proportion; it holds at least `level` of the time.

    Source: Clopper and Pearson, Biometrika 26 (1934); as a beta quantile, Brown, Cai and
    DasGupta, Statistical Science 16 (2001), section 4.2.1. Counts need not be whole, so that
    a rate can be carried over to another n.

    >>> round(clopper_pearson_upper(0, 300), 4)  # near the "rule of three", 3 / 300
    0.0099
    >>> clopper_pearson_upper(7, 7)
    1.0
    """
    from scipy.special import betaincinv

    return 1.0 if successes >= n else float(betaincinv(successes + 1, n - successes, level))


def clopper_pearson_lower(successes: float, n: float, level: float = 0.95) -> float:
    """One-sided lower bound of a proportion, the mirror of `clopper_pearson_upper`.

    >>> round(clopper_pearson_lower(300, 300), 4)
    0.9901
    """
    return 1.0 - clopper_pearson_upper(n - successes, n, level)


def wilson(successes: int, n: int) -> Interval:
    """Two-sided 95 % score interval of one proportion.

    Source: Wilson, JASA 22 (1927); method 3 of Newcombe, Statistics in Medicine 17 (1998)
    857-872, whose example of 81 of 263 is this one:

    >>> [round(bound, 4) for bound in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    z = z_value(0.975)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    half = z * sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if successes == 0 else (centre - half) / scale
    high = 1.0 if successes == n else (centre + half) / scale
    return low, high


def smallest_n(decides: Callable[[int], bool]) -> int | None:
    """Smallest whole n for which a condition holds, when it goes on holding beyond.

    None where not even a thousand million is enough.

    >>> smallest_n(lambda n: n * n > 80)
    9
    """
    high = 1
    while not decides(high):
        high *= 2
        if high > LARGEST_N:
            return None
    return bisect_left(range(high), True, lo=high // 2 + 1, key=decides)


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


def interval_of_processes(medians: NDArray[Any]) -> Interval | None:
    """Student's 95 % interval of the mean of the processes' medians [K], None for one process.

    It is honest about what differs from process to process, which order statistics of pooled
    samples do not see (Kalibera and Jones, ISMM 2013).

    >>> [round(end, 3) for end in interval_of_processes(np.array([10.0, 10.1, 9.9]))]
    [9.752, 10.248]
    """
    count = len(medians)
    if count < 2:
        return None
    reach = student(count - 1) * medians.std(ddof=1) / np.sqrt(count)
    return float(medians.mean() - reach), float(medians.mean() + reach)


def quantile(values: NDArray[Any], p: float) -> float:
    """Smallest value that at least a fraction p of the sample [N] does not exceed.

    It is always one of the values (type 1 of Hyndman and Fan, The American Statistician 50,
    1996), so a percentile and the ends of its interval are the same kind of thing.

    >>> quantile(np.array([4, 1, 3, 2]), 0.5)
    2.0
    """
    return float(np.quantile(values, p, method="inverted_cdf"))


def quantile_ci(values: NDArray[Any], p: float) -> Interval | None:
    """Two-sided 95 % interval of the p quantile of what the sample [N] was drawn from.

    Source: David and Nagaraja, Order Statistics (2003), section 7.1. Exact for independent
    draws of a continuous quantity; latencies are somewhat autocorrelated, so read it with the
    spread between processes.

    None where the sample is too small (see `samples_needed`).

    >>> quantile_ci(np.arange(1, 101), 0.5)
    (40.0, 61.0)
    >>> quantile_ci(np.arange(35), 0.9) is None
    True
    """
    ranks = _ranks(len(values), p)
    if ranks is None:
        return None
    ordered = np.sort(values)
    return float(ordered[ranks[0] - 1]), float(ordered[ranks[1] - 1])


def samples_needed(p: float) -> int:
    """Smallest sample that has an interval for the p quantile.

    >>> samples_needed(0.5), samples_needed(0.9), samples_needed(0.99)
    (6, 36, 368)
    """
    return _smallest(lambda n: _ranks(n, p) is not None, p)


def early_stopping(values: NDArray[Any], p: float) -> float | None:
    """Estimate the p quantile of a sample [N] from above, as MLPerf's LoadGen does.

    Source: MLPerf inference rules, appendix "Early Stopping", tolerance 0: with t slower queries of
    N allowed at 99 % confidence, the t-th slowest is reported. None where the sample is too small.

    >>> early_stopping(np.arange(1, 101), 0.9), early_stopping(np.arange(63), 0.9)
    (98.0, None)
    """
    allowed = _allowed_over(len(values), p)
    return float(np.sort(values)[-allowed]) if allowed else None


def early_stopping_needed(p: float) -> int:
    """Smallest sample that has an early-stopping estimate of the p quantile.

    >>> [early_stopping_needed(p) for p in (0.9, 0.95, 0.99)]
    [64, 130, 662]
    """
    return _smallest(lambda n: _allowed_over(n, p) > 0, p)


def _smallest(decides: Callable[[int], bool], p: float) -> int:
    found = smallest_n(decides)
    if found is None:
        msg = f"no sample is large enough for the {p} quantile"
        raise ValueError(msg)
    return found


def _allowed_over(n: int, p: float) -> int:
    """Largest number of slower queries by which the quantile is still met with confidence."""
    from scipy.special import bdtr

    over = np.arange(n + 1)
    return int(np.count_nonzero(bdtr(over, n, 1 - p) <= 1 - _SURE)) - 1


def _ranks(n: int, p: float) -> tuple[int, int] | None:
    """Ranks, counted from 1, of the 95 % interval's ends; each side misses at most 2.5 %."""
    from scipy.special import bdtr, bdtrc

    below = np.arange(n + 1)
    low = int(np.count_nonzero(bdtr(below, n, p) <= _MISS))
    high = n + 1 - int(np.count_nonzero(bdtrc(below, n, p) <= _MISS)) + 1
    return (low, high) if low >= 1 and high <= n else None


@dataclass(frozen=True)
class Area:
    """The area under a ROC curve with its 95 % interval: 0.5 tells nothing apart, 1 everything.

    It is the chance that a positive scores higher than a negative; ties count half.
    """

    auc: float
    ci95: Interval


def area(positives: NDArray[Any], negatives: NDArray[Any]) -> Area:
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
    reach = z_value(0.975) * deviation / (inside * (1 - inside))
    return Area(auc, (_logistic(centre - reach), _logistic(centre + reach)))


def _logistic(log_odds: float) -> float:
    return 1 / (1 + exp(min(-log_odds, 700.0)))


def _placements(scores: NDArray[Any], others: NDArray[Any]) -> NDArray[Any]:
    """Return the share of the others that each score [N] lies above; ties count half."""
    ordered = np.sort(others)
    under = np.searchsorted(ordered, scores, side="left")
    not_over = np.searchsorted(ordered, scores, side="right")
    shares: NDArray[Any] = (under + not_over) / (2 * len(others))
    return shares


def percentile_bounds(draws: NDArray[Any], level: float) -> Interval:
    """Two-sided percentile interval of bootstrap draws [R], by symmetric order statistics.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    >>> percentile_bounds(np.arange(1000.0), 0.95)
    (25.0, 974.0)
    """
    ordered = np.sort(draws)
    skip = int((1 - level) / 2 * len(ordered) + 1e-9)
    return float(ordered[skip]), float(ordered[-1 - skip])
