"""Says whether times are known well enough, or more fresh processes should take some."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.measure.stats.intervals import (
    early_stopping_needed,
    interval_of_processes,
    quantile,
    quantile_ci,
)

if TYPE_CHECKING:
    from edgetransfer.measure.speed.latency import Ratio, Samples
    from edgetransfer.measure.stats.intervals import Interval

MEDIAN_WITHIN = 0.02
"""Half of the width that the interval of a median may have, over the median."""
P90_WITHIN = 0.05
RATIO_WITHIN = 0.02
"""Of a ratio. Its width ends the run and not what it says: looking until something is decided
would decide too often (it doubled the errors in `benchmarks/comparison_rule.py`)."""
FEWEST_SAMPLES = early_stopping_needed(0.9)


def lacking(samples: Samples) -> tuple[str, ...]:
    """Say what is not known well enough, in words; empty where all is.

    Of a median both intervals count: that of the pooled times, and that of the processes' medians.
    """
    wall_ms = samples.wall_ns / 1e6
    found = []
    if len(wall_ms) < FEWEST_SAMPLES:
        found.append(f"{len(wall_ms)} samples of {FEWEST_SAMPLES}")
    middle = quantile(wall_ms, 0.5)
    medians = np.array(
        [quantile(wall_ms[samples.process == p], 0.5) for p in np.unique(samples.process)]
    )
    reach = max(
        half_width(quantile_ci(wall_ms, 0.5), middle),
        half_width(interval_of_processes(medians), middle),
    )
    if reach > MEDIAN_WITHIN:
        found.append(_wide("median", reach, MEDIAN_WITHIN))
    p90 = quantile(wall_ms, 0.9)
    reach = half_width(quantile_ci(wall_ms, 0.9), p90)
    if reach > P90_WITHIN:
        found.append(_wide("p90", reach, P90_WITHIN))
    return tuple(found)


def lacking_of_ratio(ratio: Ratio) -> str:
    """Say how much too wide the interval of a ratio is, empty where it is not."""
    if ratio.ratio is None or ratio.ci95 is None:
        return "ratio has no interval yet"
    reach = half_width(ratio.ci95, ratio.ratio)
    return _wide("ratio", reach, RATIO_WITHIN) if reach > RATIO_WITHIN else ""


def half_width(ends: Interval | None, centre: float) -> float:
    """Return how far an interval reaches from what it is of, over that; infinite without one.

    >>> half_width((9.9, 10.3), 10.0), half_width(None, 10.0)
    (0.03, inf)
    """
    if ends is None or centre <= 0:
        return float("inf")
    return round(max(centre - ends[0], ends[1] - centre) / centre, 12)


def _wide(what: str, reach: float, allowed: float) -> str:
    if reach == float("inf"):
        return f"{what} has no interval yet"
    return f"{what} within {100 * reach:.1f} %, not {100 * allowed:.0f} %"
