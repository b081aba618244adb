"""Computes every statistic of a report from one measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.measure.agreement import Agreement, compare_with_host
from edgetransfer.measure.drift import Drift, measure_drift
from edgetransfer.measure.speed.latency import histogram, speedup, summarise

if TYPE_CHECKING:
    from edgetransfer.measure.measurement import Judged, Measurement, Timing
    from edgetransfer.measure.speed.latency import LatencySummary, Speedup, TimeHistogram


@dataclass(frozen=True)
class SeriesFindings:
    """One timed series, `latency` or `end_to_end`."""

    reference: LatencySummary
    candidate: LatencySummary
    speedup: Speedup
    histogram: TimeHistogram


@dataclass(frozen=True)
class Findings:
    """All statistics of a measurement; None where times are missing."""

    raw: Measurement
    drift: Drift
    judged: Judged
    core: SeriesFindings | None
    end_to_end: SeriesFindings | None
    agreement: Agreement | None


def examine(raw: Measurement) -> Findings:
    """Compute the statistics.

    A network against itself loses nothing, whatever the examples.

    Raises:
        StageError: the reference's outputs are not finite.
    """
    drift = measure_drift(raw.reference, raw.candidate, raw.task)
    drift = drift.of_itself() if raw.identical else drift
    host, agreement = raw.on_host, None
    if host is not None:
        agreement = compare_with_host(raw.reference, raw.candidate, host, raw.task)
    return Findings(
        raw=raw,
        drift=drift,
        judged=raw.task.examine(raw, drift),
        core=_series(raw.core),
        end_to_end=_series(raw.end_to_end),
        agreement=agreement,
    )


def _series(timing: Timing | None) -> SeriesFindings | None:
    if timing is None:
        return None
    first, second = timing.reference, timing.candidate
    compared = speedup(first, second), histogram(first, second)
    return SeriesFindings(summarise(first), summarise(second), *compared)
