"""Computes every statistic of a report from one measurement."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgetransfer.measure.agreement import Agreement, compare_with_host
from edgetransfer.measure.calibration import Calibration, calibration
from edgetransfer.measure.comparison import by_group, class_drops, compare, identical
from edgetransfer.measure.drift import Drift, measure_drift
from edgetransfer.measure.metrics import ClassResult, Outcomes, decisions, per_class
from edgetransfer.measure.speed.latency import histogram, speedup, summarise

if TYPE_CHECKING:
    from edgetransfer.measure.comparison import ClassDrop, Comparison, GroupResult
    from edgetransfer.measure.measurement import Measurement, Timing
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
    """All statistics of a measurement; None or empty where labels or times are missing."""

    raw: Measurement
    drift: Drift
    outcomes: Outcomes | None
    accuracy: Comparison | None
    calibration: Calibration | None
    class_drops: tuple[ClassDrop, ...]
    core: SeriesFindings | None
    end_to_end: SeriesFindings | None
    agreement: Agreement | None

    def classes(self) -> tuple[ClassResult, ...]:
        """Return how each class fares."""
        return () if self.outcomes is None else per_class(self.outcomes, self.raw.labels)

    def groups(self) -> tuple[GroupResult, ...]:
        """Return the comparison of accuracy within each group."""
        if self.outcomes is None:
            return ()
        return by_group(self.outcomes, self.raw.groups, self.raw.metric, seed=self.raw.seed)


def examine(raw: Measurement) -> Findings:
    """Compute the statistics.

    A network against itself loses nothing, whatever the examples.

    Raises:
        StageError: the reference's logits are not finite.
    """
    drift = measure_drift(raw.reference, raw.candidate)
    outcomes, accuracy, calibrated = None, None, None
    drops: tuple[ClassDrop, ...] = ()
    if raw.truth is not None:
        pair = decisions(raw.reference), decisions(raw.candidate)
        outcomes = Outcomes(raw.truth, *pair, len(raw.labels))
        accuracy = compare(outcomes, raw.metric, seed=raw.seed)
        drops = class_drops(outcomes, raw.labels)
        if not drift.non_finite:
            calibrated = calibration(raw.truth, raw.reference, raw.candidate, seed=raw.seed)
    if raw.identical:
        drift = drift.of_itself()
        accuracy = None if accuracy is None else identical(accuracy)
        calibrated = None if calibrated is None else calibrated.of_itself()
        drops = tuple(replace(each, upper_pp=0.0, lower_pp=0.0) for each in drops)
    host = raw.on_host
    return Findings(
        raw=raw,
        drift=drift,
        outcomes=outcomes,
        accuracy=accuracy,
        calibration=calibrated,
        class_drops=drops,
        core=_series(raw.core),
        end_to_end=_series(raw.end_to_end),
        agreement=None if host is None else compare_with_host(raw.reference, raw.candidate, host),
    )


def _series(timing: Timing | None) -> SeriesFindings | None:
    if timing is None:
        return None
    first, second = timing.reference, timing.candidate
    compared = speedup(first, second), histogram(first, second)
    return SeriesFindings(summarise(first), summarise(second), *compared)
