"""Summarises times of single inferences, compares two variants, and says if they are known well."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, log, sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.stats.intervals import (
    Interval,
    between,
    early_stopping,
    early_stopping_needed,
    interval_of_processes,
    mad,
    outliers,
    quantile,
    quantile_ci,
    rel_iqr,
    student,
)

Speed = Literal["FASTER", "SLOWER", "SAME", "UNDECIDED"]
Key = tuple[int, int]
"""A process, and a block in it."""
MARGIN = 1.02
"""Ratios between 1 / MARGIN and MARGIN are the same speed to a user."""


@dataclass(frozen=True)
class Samples:
    """Times of N single inferences, int64 [N] each, wall and of all threads' CPU.

    Args:
        process: number of the process it ran in.
        block: number of the interleaved block within the process.
    """

    process: NDArray[Any]
    block: NDArray[Any]
    wall_ns: NDArray[Any]
    cpu_ns: NDArray[Any]

    def __post_init__(self) -> None:
        lengths = [len(a) for a in (self.process, self.block, self.wall_ns, self.cpu_ns)]
        if len(set(lengths)) != 1 or lengths[0] == 0:
            msg = f"process, block, wall_ns, cpu_ns need one length above 0, found {lengths}"
            raise ValueError(msg)

    @classmethod
    def from_processes(cls, tables: Sequence[NDArray[Any]]) -> Samples:
        """Join what the agent wrote: one int64 [n, 3] a process, of block, wall ns, CPU ns."""
        rows = np.concatenate(tables)
        process = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        return cls(process, rows[:, 0], rows[:, 1], rows[:, 2])


@dataclass(frozen=True)
class LatencySummary:
    """Times of one variant, ms; what n is too small for is None.

    Args:
        es_p90_ms: early-stopping estimate, comparable with LoadGen's.
        p95_ms: None where n has no interval for it; p99_ms too.
        between_process_cv: spread of the processes' medians over their mean.
        throughput_per_s: inferences a second, one after the other.
        cpu_utilisation: CPU time of all threads over wall time: above 1 with several threads.
        outliers: times beyond Tukey's inner fences; they are counted, never dropped.
        far_outliers: of those, beyond the outer fences.
    """

    n: int
    processes: int
    p50_ms: float
    p50_ci95_ms: Interval | None
    p90_ms: float
    p90_ci95_ms: Interval | None
    cpu_p50_ms: float
    cpu_p50_ci95_ms: Interval | None
    mean_ms: float
    max_ms: float
    process_p50_ms: tuple[float, ...]
    es_p90_ms: float | None = None
    p95_ms: float | None = None
    p95_ci95_ms: Interval | None = None
    p99_ms: float | None = None
    p99_ci95_ms: Interval | None = None
    mad_ms: float = 0.0
    rel_iqr: float = 0.0
    between_process_cv: float | None = None
    throughput_per_s: float = 0.0
    cpu_utilisation: float = 0.0
    outliers: int = 0
    far_outliers: int = 0


@dataclass(frozen=True)
class Estimate:
    """A ratio and its two-sided 95 % interval, None where one process has none."""

    ratio: float
    ci95: Interval | None


@dataclass(frozen=True)
class Ratio:
    """Median of the reference over that of the candidate: above 1 the shipped model is faster.

    Args:
        ci95: two-sided 95 % interval, None where it cannot be formed.
        reason: why something is None, empty where nothing is.
    """

    ratio: float | None
    ci95: Interval | None
    speed: Speed
    reason: str


@dataclass(frozen=True)
class Speedup:
    """The two ratios, and how many blocks both variants were timed in."""

    wall: Ratio
    cpu: Ratio
    blocks: int


@dataclass(frozen=True)
class TimeHistogram:
    """Counts [B] of both variants between shared edges [B + 1]; the last bin holds the tail."""

    edges_ms: tuple[float, ...]
    reference: tuple[int, ...]
    candidate: tuple[int, ...]


def summarise(samples: Samples) -> LatencySummary:
    """Summarise one variant; percentiles are samples, their intervals order statistics."""
    wall_ms, cpu_ms = samples.wall_ns / 1e6, samples.cpu_ns / 1e6
    medians = process_medians(samples)
    p95_ci95, p99_ci95 = quantile_ci(wall_ms, 0.95), quantile_ci(wall_ms, 0.99)
    beyond = outliers(wall_ms)
    return LatencySummary(
        n=len(wall_ms),
        processes=len(medians),
        p50_ms=quantile(wall_ms, 0.5),
        p50_ci95_ms=quantile_ci(wall_ms, 0.5),
        p90_ms=quantile(wall_ms, 0.9),
        p90_ci95_ms=quantile_ci(wall_ms, 0.9),
        cpu_p50_ms=quantile(cpu_ms, 0.5),
        cpu_p50_ci95_ms=quantile_ci(cpu_ms, 0.5),
        mean_ms=float(wall_ms.mean()),
        max_ms=float(wall_ms.max()),
        process_p50_ms=tuple(medians.tolist()),
        es_p90_ms=early_stopping(wall_ms, 0.9),
        p95_ms=None if p95_ci95 is None else quantile(wall_ms, 0.95),
        p95_ci95_ms=p95_ci95,
        p99_ms=None if p99_ci95 is None else quantile(wall_ms, 0.99),
        p99_ci95_ms=p99_ci95,
        mad_ms=mad(wall_ms),
        rel_iqr=rel_iqr(wall_ms),
        between_process_cv=between(medians),
        throughput_per_s=1e3 * len(wall_ms) / float(wall_ms.sum()) if wall_ms.any() else 0.0,
        cpu_utilisation=float(cpu_ms.sum() / wall_ms.sum()) if wall_ms.any() else 0.0,
        outliers=beyond[0],
        far_outliers=beyond[1],
    )


def process_medians(samples: Samples) -> NDArray[np.float64]:
    """Return the median wall time of each process, ms [K]."""
    wall_ms, of = samples.wall_ns / 1e6, samples.process
    return np.array([quantile(wall_ms[of == process], 0.5) for process in np.unique(of)])


def speedup(reference: Samples, candidate: Samples) -> Speedup:
    """Compare two variants in the (process, block) pairs in which both were timed.

    Source of the interval: `estimate`; of the four classes: the noise threshold of criterion.rs and
    the practical-equivalence region of Kruschke (2018).
    """
    sides = (reference, candidate)
    wall = [block_medians(side.process, side.block, side.wall_ns) for side in sides]
    cpu = [block_medians(side.process, side.block, side.cpu_ns) for side in sides]
    shared = sorted(wall[0].keys() & wall[1].keys())
    return Speedup(_ratio(shared, *wall), _ratio(shared, *cpu), len(shared))


def histogram(reference: Samples, candidate: Samples, bins: int = 40) -> TimeHistogram:
    """Count both variants' wall times in equal bins up to their common 99th percentile."""
    first, second = reference.wall_ns / 1e6, candidate.wall_ns / 1e6
    both = np.concatenate([first, second])
    low, high = float(both.min()), quantile(both, 0.99)
    edges = np.linspace(low, high if high > low else low + 1e-6, bins + 1)
    counts = [np.histogram(np.minimum(x, edges[-1]), edges)[0].tolist() for x in (first, second)]
    return TimeHistogram(tuple(edges.tolist()), tuple(counts[0]), tuple(counts[1]))


def classify(ci95: Interval) -> Speed:
    """Say what an interval of the ratio means.

    >>> classify((1.8, 2.1)), classify((0.99, 1.01)), classify((1.01, 1.3))
    ('FASTER', 'SAME', 'UNDECIDED')
    """
    low, high = ci95
    if low > MARGIN:
        return "FASTER"
    if high < 1 / MARGIN:
        return "SLOWER"
    return "SAME" if low >= 1 / MARGIN and high <= MARGIN else "UNDECIDED"


def _ratio(shared: Sequence[Key], above: Mapping[Key, float], below: Mapping[Key, float]) -> Ratio:
    """Ratio of two variants by the medians of the blocks that both share."""
    if not shared:
        return Ratio(None, None, "UNDECIDED", "no block was timed for both variants")
    if any(medians[key] <= 0 for medians in (above, below) for key in shared):
        return Ratio(None, None, "UNDECIDED", "the clock is too coarse: a median is 0 ns")
    by_process: dict[int, list[float]] = {}
    for key in shared:
        by_process.setdefault(key[0], []).append(log(above[key] / below[key]))
    found = estimate(np.array([np.median(blocks) for blocks in by_process.values()]))
    if found.ci95 is None:
        reason = "needs 2 processes that timed both variants, there is 1"
        return Ratio(found.ratio, None, "UNDECIDED", reason)
    return Ratio(found.ratio, found.ci95, classify(found.ci95), "")


def block_medians(
    process: NDArray[Any], block: NDArray[Any], values: NDArray[Any]
) -> dict[Key, float]:
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


def estimate(logs: NDArray[Any]) -> Estimate:
    """Estimate a ratio from its logarithms [K], of each process the median over its blocks.

    A block was timed for both variants within the same moment, so what slows both cancels; a step
    of the clock frequency between two turns does not move the median. The interval is Student's
    over the processes, since what a process's layout of memory does to one variant is the same in
    all its blocks: more blocks do not average it out (Kalibera and Jones, "Rigorous benchmarking in
    reasonable time", ISMM 2013: the interval is of the highest level at which variance enters).
    `benchmarks/comparison_rule.py` shows how often that errs, and how often resampling blocks did.

    >>> found = estimate(np.array([0.1, 0.1, 0.1]))
    >>> round(found.ratio, 4), [round(end, 4) for end in found.ci95]
    (1.1052, [1.1052, 1.1052])
    """
    ends = interval_of_processes(logs)
    return Estimate(exp(logs.mean()), None if ends is None else (exp(ends[0]), exp(ends[1])))


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


MEDIAN_WITHIN = 0.02
"""Half of the width that the interval of a median may have, over the median."""
P90_WITHIN = 0.05
RATIO_WITHIN = 0.02
"""Of a ratio. Its width ends the run and not what it says: looking until something is decided
would decide too often (it doubled the errors in `benchmarks/comparison_rule.py`)."""


def lacking(samples: Samples) -> tuple[str, ...]:
    """Say what is not known well enough, in words; empty where all is.

    Of a median both intervals count: that of the pooled times, and that of the processes' medians.
    """
    wall_ms, fewest = samples.wall_ns / 1e6, early_stopping_needed(0.9)
    middle = quantile(wall_ms, 0.5)
    reach = max(
        half_width(quantile_ci(wall_ms, 0.5), middle),
        half_width(interval_of_processes(process_medians(samples)), middle),
    )
    reach_90 = half_width(quantile_ci(wall_ms, 0.9), quantile(wall_ms, 0.9))
    found = (
        f"{len(wall_ms)} samples of {fewest}" if len(wall_ms) < fewest else "",
        _too_wide("median", reach, MEDIAN_WITHIN),
        _too_wide("p90", reach_90, P90_WITHIN),
    )
    return tuple(filter(None, found))


def lacking_of_ratio(ratio: Ratio) -> str:
    """Say how much too wide the interval of a ratio is, empty where it is not."""
    return _too_wide("ratio", half_width(ratio.ci95, ratio.ratio or 0.0), RATIO_WITHIN)


def half_width(ends: Interval | None, centre: float) -> float:
    """Return how far an interval reaches from what it is of, over that; infinite without one.

    >>> half_width((9.9, 10.3), 10.0), half_width(None, 10.0)
    (0.03, inf)
    """
    if ends is None or centre <= 0:
        return inf
    return round(max(centre - ends[0], ends[1] - centre) / centre, 12)


def _too_wide(what: str, reach: float, allowed: float) -> str:
    if reach <= allowed:
        return ""
    if reach == inf:
        return f"{what} has no interval yet"
    return f"{what} within {100 * reach:.1f} %, not {100 * allowed:.0f} %"
