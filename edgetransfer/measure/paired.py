"""Judges two models on the same examples by the pairs in which only one of them is right.

It does not know what is right; `metrics` counts the pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.measure.proportions import smallest_n, z_value

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Pairs:
    """The discordant cells of a paired 2 x 2 table.

    Args:
        reference_only: examples that only the reference gets right.
        candidate_only: examples that only the candidate gets right.
        n: all examples, concordant ones too.
    """

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
    """One-sided upper bound of the drop, by Tango's score interval.

    Never degenerate: with no discordant pair it is z^2 / (n + z^2).

    >>> round(100 * drop_upper(Pairs(0, 0, 60)), 1)
    4.3
    """
    return _upper(pairs.reference_only, pairs.candidate_only, pairs.n, z_value(level))


def drop_lower(pairs: Pairs, level: float = 0.95) -> float:
    """One-sided lower bound of the drop, by Tango's score interval.

    >>> drop_lower(Pairs(9, 2, 50)) == -drop_upper(Pairs(2, 9, 50))
    True
    """
    return -_upper(pairs.candidate_only, pairs.reference_only, pairs.n, z_value(level))


def drop_interval(pairs: Pairs, level: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval of the drop.

    Source: Tango, Statistics in Medicine 17 (1998) 891-908, section 4; the example is that of
    its section 6.2 (sleeping difficulties in 32 matched pairs).

    >>> [round(bound, 3) for bound in drop_interval(Pairs(9, 3, 32))]
    [-0.027, 0.39]
    """
    one_sided = (1 + level) / 2
    return drop_lower(pairs, one_sided), drop_upper(pairs, one_sided)


def examples_needed(max_drop: float, pairs: Pairs) -> int | None:
    """Test examples that would decide whether the drop is under a limit, at the observed rates.

    A drop under the limit needs its upper bound under it, a drop over it needs its lower bound
    over it; both one-sided at 95 %. With no discordant pair this is the number of examples that
    have to pass without a flip.

    Args:
        max_drop: the limit, a fraction.
        pairs: what was observed.

    Returns:
        The smallest such number, or None where none decides (the drop lies on the limit).

    >>> examples_needed(0.02, Pairs(0, 0, 60))
    133
    >>> examples_needed(0.02, Pairs(1, 1, 153))
    183
    """
    lost, won = pairs.reference_only / pairs.n, pairs.candidate_only / pairs.n
    z = z_value(0.95)
    if pairs.drop < max_drop:
        return smallest_n(lambda n: _upper(lost * n, won * n, n, z) < max_drop)
    return smallest_n(lambda n: -_upper(won * n, lost * n, n, z) > max_drop)


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


def _upper(lost: float, won: float, n: float, z: float) -> float:
    """Root above the estimate of Tango's score equation, by bisection to machine precision."""
    low, high = (lost - won) / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        inside = (lost - won - n * middle) ** 2 < z * z * n * _variance(lost, won, n, middle)
        low, high = (middle, high) if inside else (low, middle)
    return high


def _variance(lost: float, won: float, n: float, drop: float) -> float:
    """Variance of one pair's difference at the maximum-likelihood nuisance, given the drop.

    Source: Tango (1998), section 3: the restricted estimate of P(candidate only) is the
    larger root of 2n q^2 + B q + C = 0.
    """
    b = -lost - won + (2 * n - lost + won) * drop
    c = -won * drop * (1 - drop)
    won_rate = (sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    return 2 * won_rate + drop * (1 - drop)
