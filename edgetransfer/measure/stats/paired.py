"""Judges two models on the same examples by the pairs in which only one of them is right.

The bounds of the loss are never anti-conservative: with up to `FEW` discordant pairs they are exact
(Buehler's limits over the unknown rate of discordance), beyond that Tango's score interval with a
continuity correction. docs/statistics.md has the enumeration.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import floor, sqrt
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.measure.stats.intervals import clopper_pearson_upper, smallest_n, z_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Count = NDArray[np.int64] | int

FEW = 30
"""Up to so many discordant pairs the bounds are exact. Tango's limits alone are passed by a loss of
the whole limit in up to 6.9 % of test sets, where 5 % is promised, and most often with as many
examples as pass without a flip (`benchmarks/false_pass.py`)."""
CORRECTION = 0.5
"""Of the difference of two counts, which moves in steps of 1."""
_SLACK = 4e-4
"""Share of the level that is set aside: half for discordance beyond all that is searched (Berger
and Boos), half for the steps of that search."""
_STEP, _FINE, _NEAR_PEAK = 0.12, 11, 1e-3
"""Of the search over the rate of `candidate_only`: the step of the root of the expected count, the
standard deviation of which is 0.5; the points about each peak; how far under the best one it is."""
_NEAR = 1e-9
"""How exactly an exact bound is found; it is rounded up."""


@dataclass(frozen=True)
class Pairs:
    """The discordant cells of a paired 2 x 2 table: examples, of `n`, that only one gets right."""

    reference_only: int
    candidate_only: int
    n: int

    def __post_init__(self) -> None:
        if min(self.reference_only, self.candidate_only) < 0 or self.n < 1:
            msg = f"counts cannot be negative, n not under 1: {self}"
            raise ValueError(msg)
        if self.discordant > self.n:
            msg = f"more discordant pairs than pairs: {self}"
            raise ValueError(msg)

    @property
    def discordant(self) -> int:
        """Pairs in which exactly one of the two is right."""
        return self.reference_only + self.candidate_only

    @property
    def drop(self) -> float:
        """What the candidate loses, as a fraction; negative where it gains."""
        return (self.reference_only - self.candidate_only) / self.n


def drop_upper(pairs: Pairs, level: float = 0.95) -> float:
    """One-sided upper bound of the drop; it holds at least `level` of the time.

    With no discordant pair it is that of Clopper and Pearson, 1 - 0.05^(1/n).

    >>> [round(100 * drop_upper(Pairs(0, 0, n)), 2) for n in (148, 149)]
    [2.0, 1.99]
    """
    lost, won = pairs.reference_only, pairs.candidate_only
    if pairs.discordant > FEW:
        return _score_upper(lost, won, pairs.n, z_value(level), CORRECTION)
    return _exact_upper(lost, won, pairs.n, level)


def drop_lower(pairs: Pairs, level: float = 0.95) -> float:
    """One-sided lower bound of the drop, the mirror of `drop_upper`.

    >>> drop_lower(Pairs(9, 2, 50)) == -drop_upper(Pairs(2, 9, 50))
    True
    """
    return -drop_upper(Pairs(pairs.candidate_only, pairs.reference_only, pairs.n), level)


def drop_interval(pairs: Pairs, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of the drop: both one-sided bounds at half of the error.

    >>> [round(bound, 3) for bound in drop_interval(Pairs(9, 3, 32))]
    [-0.032, 0.418]
    """
    one_sided = (1 + level) / 2
    return drop_lower(pairs, one_sided), drop_upper(pairs, one_sided)


def is_under(limit: float, pairs: Pairs, level: float = 0.95) -> bool:
    """Tell whether the drop is shown to be under a limit: ``drop_upper(pairs) < limit``.

    >>> is_under(0.02, Pairs(0, 0, 148)), is_under(0.02, Pairs(0, 0, 149))
    (False, True)
    """
    lost, won, n = pairs.reference_only, pairs.candidate_only, pairs.n
    if not pairs.drop < limit < 1:
        return False
    if pairs.discordant > FEW:
        return bool(tango_excess(lost, won, n, limit, z_value(level), CORRECTION) > 0)
    return _tail(lost, won, n, level).highest_chance(limit) < 1 - level


@lru_cache(maxsize=4096)
def examples_needed(max_drop: float, pairs: Pairs) -> int | None:
    """Test examples that would decide whether the drop is under a limit, at the observed rates.

    A drop under the limit needs its upper bound under it, a drop over it needs its lower bound
    over it; both one-sided at 95 %. With no discordant pair this is the number of examples that
    have to pass without a flip.

    The smallest such number, or None where none decides (the drop lies on the limit).

    >>> examples_needed(0.02, Pairs(0, 0, 60))
    149
    >>> examples_needed(0.02, Pairs(1, 1, 153))
    177
    """
    swapped = pairs.drop >= max_drop
    lost, won = pairs.reference_only, pairs.candidate_only
    first, second = (won, lost) if swapped else (lost, won)
    limit = -max_drop if swapped else max_drop

    def decides(n: int) -> bool:
        return is_under(limit, Pairs(_scaled(first, n, pairs.n), _scaled(second, n, pairs.n), n))

    return smallest_n(decides)


def _scaled(count: int, n: int, of: int) -> int:
    """Carry a count over to another n; the nearest whole number."""
    return (2 * count * n + of) // (2 * of)


def mcnemar_p(pairs: Pairs) -> float:
    """Two-sided exact p value of the hypothesis that neither model is better.

    Source: the exact conditional test of McNemar, Psychometrika 12 (1947): twice the binomial
    tail at one half, at most 1.

    >>> mcnemar_p(Pairs(0, 0, 10)), mcnemar_p(Pairs(5, 0, 10))
    (1.0, 0.0625)
    """
    from scipy.special import bdtr

    fewer = min(pairs.reference_only, pairs.candidate_only)
    if pairs.discordant == 0:
        return 1.0
    return min(1.0, 2.0 * float(bdtr(fewer, pairs.discordant, 0.5)))


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """P values [K] corrected for asking K questions at once.

    Source: Holm, Scandinavian Journal of Statistics 6 (1979), the step-down procedure.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values), np.float64)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    return corrected


@dataclass(frozen=True)
class _Tail:
    """The tables of n pairs that speak for a small drop at least as much as the observed one.

    `won` are counts of `candidate_only`, [W], and `lost` the largest `reference_only` [W] that
    belongs to it with each, -1 where none does. Rates of `candidate_only` are searched up to
    `most`; `slack` is added to every probability, see `_SLACK`.
    """

    won: NDArray[np.int64]
    lost: NDArray[np.int64]
    n: int
    most: float
    slack: float

    def chance(self, drop: float, won_rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability [K] of the tail at a drop and rates [K] of `candidate_only`."""
        from scipy.special import bdtr, gammaln, xlog1py, xlogy

        rates, n, won = won_rates[:, None], self.n, self.won
        ways = gammaln(n + 1) - gammaln(won + 1) - gammaln(n - won + 1)
        mass = np.exp(ways + xlogy(won, rates) + xlog1py(n - won, -rates))
        lost_rates = np.clip((rates + drop) / np.maximum(1 - rates, 1e-300), 0.0, 1.0)
        below = bdtr(np.maximum(self.lost, 0.0), n - won, lost_rates)
        return np.asarray((mass * np.where(self.lost < 0, 0.0, below)).sum(axis=1))

    def highest_chance(self, drop: float) -> float:
        """Probability of the tail at a drop where the nuisance makes it highest.

        There may be several peaks. A square root of the rate makes them equally wide.
        """
        low = max(0.0, -drop)
        high = max(low, min(self.most, (1 - drop) / 2))
        steps = 2 + int((sqrt(self.n * high) - sqrt(self.n * low)) / _STEP)
        roots = np.pad(np.linspace(sqrt(low), sqrt(high), steps + 1), 1, mode="edge")
        found = self.chance(drop, roots**2)
        peaks = np.flatnonzero(found[1:-1] >= np.maximum(found[:-2], found[2:])) + 1
        peaks = peaks[found[peaks] > found.max() - _NEAR_PEAK]
        near = np.linspace(roots[peaks - 1], roots[peaks + 1], _FINE).ravel()
        return float(self.chance(drop, near**2).max()) + self.slack


@lru_cache(maxsize=4096)
def _tail(lost: int, won: int, n: int, level: float) -> _Tail:
    slack = _SLACK * (1 - level)
    z = z_value(level)
    limit = _score_upper(lost, won, n, z)
    most = clopper_pearson_upper(won, n, 1 - slack / 2)
    counts = np.arange(min(n, floor(n * most + 7 * sqrt(n * most)) + 12) + 1)
    low, high = np.full(len(counts), -1), n - counts + 1
    while (high - low).max() > 1:
        middle = (low + high) // 2
        inside = tango_excess(middle, counts, n, limit, z) >= -1e-9
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    low[won] = max(low[won], lost)
    return _Tail(counts, low, n, most, slack)


@lru_cache(maxsize=16384)
def _exact_upper(lost: int, won: int, n: int, level: float) -> float:
    """Largest drop at which some nuisance makes the tail no rarer than the level.

    The tail's probability falls with the drop at every rate of `candidate_only`, so that its
    highest does too. Sources: Buehler, JASA 52 (1957), for the limit that an ordering of all
    outcomes gives; Lloyd and Moldovan, Statistics in Medicine 26 (2007) 3369-3384, for matched
    pairs ordered by an approximate limit; Sidik, Statistics in Medicine 22 (2003) 265-278, for the
    nuisance; Berger and Boos, JASA 89 (1994) 1012-1016, for searching it within a bound.
    """
    from scipy.optimize import brentq

    tail, error = _tail(lost, won, n, level), 1 - level

    def excess(drop: float) -> float:
        return tail.highest_chance(drop) - error

    seen = (lost - won) / n
    if excess(1.0) >= 0 or seen == 1:
        return 1.0
    if excess(seen) <= 0:
        return seen
    near = min(1.0, _score_upper(lost, won, n, z_value(level), 2 * CORRECTION))
    high = near if excess(near) < 0 else 1.0
    return min(1.0, float(brentq(excess, seen, high, xtol=_NEAR)) + _NEAR)


def _score_upper(lost: int, won: int, n: int, z: float, correction: float = 0.0) -> float:
    """Root above the estimate of Tango's score equation, by bisection to machine precision.

    Source: Tango, Statistics in Medicine 17 (1998) 891-908, section 4; the example is that of
    its section 6.2 (sleeping difficulties in 32 matched pairs).

    >>> [round(_score_upper(*pair, 32, z_value(0.975)), 3) for pair in ((9, 3), (3, 9))]
    [0.39, 0.027]
    """
    low, high = (lost - won) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        inside = tango_excess(lost, won, n, middle, z, correction) < 0
        low, high = (middle, high) if inside else (low, middle)
    return high


def tango_excess(
    lost: Count, won: Count, n: int, drop: float, z: float, correction: float = 0.0
) -> NDArray[np.float64]:
    """By how much a drop lies over the estimate beyond z standard errors, times n.

    Source: Tango (1998), section 3: the variance of one pair's difference is that of the restricted
    maximum-likelihood estimate of P(candidate only), the larger root of 2n q^2 + B q + C = 0.
    """
    b = -lost - won + (2 * n - lost + won) * drop
    c = -won * drop * (1 - drop)
    won_rate = (np.sqrt(np.maximum(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = np.maximum(0.0, 2 * won_rate + drop * (1 - drop))
    return np.asarray(n * drop - lost + won - correction - z * np.sqrt(n * variance))
