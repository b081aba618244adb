"""Estimates how many times as fast one variant is as another, from blocks timed side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A ratio and its two-sided 95 % interval, None where one process has none."""

    ratio: float
    ci95: tuple[float, float] | None


def block_medians(
    process: NDArray[Any], block: NDArray[Any], values: NDArray[Any]
) -> dict[tuple[int, int], float]:
    """Return the median of the values [N] of each (process, block), given both [N] of each.

    >>> block_medians(np.array([0, 0, 0, 1]), np.array([3, 3, 3, 3]), np.array([1, 4, 2, 7]))
    {(0, 3): 2.0, (1, 3): 7.0}
    """
    order = np.lexsort((values, block, process))
    process, block, values = process[order], block[order], values[order]
    new = np.flatnonzero((np.diff(process) != 0) | (np.diff(block) != 0)) + 1
    starts, ends = np.r_[0, new], np.r_[new, len(values)]
    low, high = values[starts + (ends - starts - 1) // 2], values[starts + (ends - starts) // 2]
    keys = zip(process[starts].tolist(), block[starts].tolist(), strict=True)
    return dict(zip(keys, ((low + high) / 2).tolist(), strict=True))


def estimate(processes: Sequence[Sequence[float]]) -> Estimate:
    """Estimate a ratio from the logarithms of it that each process's blocks gave.

    A block was timed for both variants within the same moment, so what slows both cancels. Of each
    process counts the median of its blocks, which a step of the clock frequency between two turns
    does not move; and the interval is Student's over the processes, since what a process's layout
    of memory does to one variant is the same in all its blocks: more blocks do not average it out
    (Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013: the interval is of
    the highest level at which variance enters). `benchmarks/comparison_rule.py` shows how often
    that errs, and how often resampling blocks alone did.

    Args:
        processes: of each process, log(reference / candidate) of every block that both share.

    >>> found = estimate([[0.0, 0.1, 0.5], [0.1], [0.1, 0.1]])
    >>> round(found.ratio, 4), [round(end, 4) for end in found.ci95]
    (1.1052, [1.1052, 1.1052])
    """
    return of_processes(np.array([np.median(blocks) for blocks in processes]))


def of_processes(each: NDArray[Any]) -> Estimate:
    """Estimate a ratio from its logarithms [K] in each process: see `estimate`."""
    middle = float(each.mean())
    if len(each) < 2:
        return Estimate(exp(middle), None)
    reach = student(len(each) - 1) * float(each.std(ddof=1)) / sqrt(len(each))
    return Estimate(exp(middle), (exp(middle - reach), exp(middle + reach)))


def unpaired(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """Estimate how many times as fast the second is, from a time of each process in two runs.

    Welch's interval of the difference of the means of logarithms (Biometrika 34, 1947). What slowed
    one run alone is in the ratio, and not in its interval.

    >>> found = unpaired([2.0, 2.0, 2.2], [1.0, 1.1, 1.0])
    >>> round(found.ratio, 3), [round(end, 3) for end in found.ci95]
    (2.0, [1.765, 2.266])
    """
    logs = [np.log(each) for each in (first, second)]
    middle = float(logs[0].mean() - logs[1].mean())
    if min(map(len, logs)) < 2:
        return Estimate(exp(middle), None)
    parts = [float(each.var(ddof=1)) / len(each) for each in logs]
    if not sum(parts):
        return Estimate(exp(middle), (exp(middle), exp(middle)))
    freedom = sum(parts) ** 2 / sum(
        part**2 / (len(each) - 1) for part, each in zip(parts, logs, strict=True)
    )
    reach = student(freedom) * sqrt(sum(parts))
    return Estimate(exp(middle), (exp(middle - reach), exp(middle + reach)))


def student(freedom: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's distribution.

    >>> round(student(4), 3)
    2.776
    """
    from scipy.special import stdtrit

    return float(stdtrit(freedom, (1 + level) / 2))
