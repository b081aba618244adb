"""Bounds of one proportion (Clopper-Pearson, Wilson) and the search for a sample size."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from statistics import NormalDist

LARGEST_N = 10**9


def z_value(level: float) -> float:
    """Quantile of the standard normal distribution.

    >>> round(z_value(0.95), 3)
    1.645
    """
    return NormalDist().inv_cdf(level)


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


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval of one proportion.

    Source: Wilson, JASA 22 (1927); method 3 of Newcombe, Statistics in Medicine 17 (1998)
    857-872, whose example of 81 of 263 is this one:

    >>> [round(bound, 4) for bound in wilson(81, 263)]
    [0.2553, 0.3662]
    """
    z = z_value((1 + level) / 2)
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
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
