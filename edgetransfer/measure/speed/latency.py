"""Summarises times of single inferences and compares two variants timed side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.stats.intervals import (
    between,
    early_stopping,
    mad,
    outliers,
    quantile,
    quantile_ci,
    rel_iqr,
)
from edgetransfer.measure.stats.ratio import block_medians, estimate

Speed = Literal["FASTER", "SLOWER", "SAME", "UNDECIDED"]
MARGIN = 1.02
"""Ratios between 1 / MARGIN and MARGIN are the same speed to a user."""
Interval = tuple[float, float]


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
    processes = np.unique(samples.process)
    medians = tuple(quantile(wall_ms[samples.process == p], 0.5) for p in processes)
    p95_ci95, p99_ci95 = quantile_ci(wall_ms, 0.95), quantile_ci(wall_ms, 0.99)
    beyond = outliers(wall_ms)
    return LatencySummary(
        n=len(wall_ms),
        processes=len(processes),
        p50_ms=quantile(wall_ms, 0.5),
        p50_ci95_ms=quantile_ci(wall_ms, 0.5),
        p90_ms=quantile(wall_ms, 0.9),
        p90_ci95_ms=quantile_ci(wall_ms, 0.9),
        cpu_p50_ms=quantile(cpu_ms, 0.5),
        cpu_p50_ci95_ms=quantile_ci(cpu_ms, 0.5),
        mean_ms=float(wall_ms.mean()),
        max_ms=float(wall_ms.max()),
        process_p50_ms=medians,
        es_p90_ms=early_stopping(wall_ms, 0.9),
        p95_ms=None if p95_ci95 is None else quantile(wall_ms, 0.95),
        p95_ci95_ms=p95_ci95,
        p99_ms=None if p99_ci95 is None else quantile(wall_ms, 0.99),
        p99_ci95_ms=p99_ci95,
        mad_ms=mad(wall_ms),
        rel_iqr=rel_iqr(wall_ms),
        between_process_cv=between(np.array(medians)),
        throughput_per_s=1e3 * len(wall_ms) / float(wall_ms.sum()) if wall_ms.any() else 0.0,
        cpu_utilisation=float(cpu_ms.sum() / wall_ms.sum()) if wall_ms.any() else 0.0,
        outliers=beyond[0],
        far_outliers=beyond[1],
    )


def speedup(reference: Samples, candidate: Samples) -> Speedup:
    """Compare two variants in the (process, block) pairs in which both were timed.

    Source of the interval: `ratio.estimate`; of the four classes: the noise threshold of
    criterion.rs and the practical-equivalence region of Kruschke (2018).
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


Key = tuple[int, int]


def _ratio(shared: Sequence[Key], above: Mapping[Key, float], below: Mapping[Key, float]) -> Ratio:
    """Ratio of two variants by the medians of the blocks that both share."""
    if not shared:
        return Ratio(None, None, "UNDECIDED", "no block was timed for both variants")
    if any(medians[key] <= 0 for medians in (above, below) for key in shared):
        return Ratio(None, None, "UNDECIDED", "the clock is too coarse: a median is 0 ns")
    by_process: dict[int, list[float]] = {}
    for key in shared:
        by_process.setdefault(key[0], []).append(log(above[key] / below[key]))
    found = estimate(list(by_process.values()))
    if found.ci95 is None:
        reason = "needs 2 processes that timed both variants, there is 1"
        return Ratio(found.ratio, None, "UNDECIDED", reason)
    return Ratio(found.ratio, found.ci95, classify(found.ci95), "")
