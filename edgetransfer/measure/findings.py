"""Computes every statistic of a report from the facts, and the verdict from the statistics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgetransfer.measure import gates
from edgetransfer.measure.agreement import compare_with_host, elsewhere
from edgetransfer.measure.calibration import Calibration, calibration
from edgetransfer.measure.class_drops import class_drops
from edgetransfer.measure.comparison import by_group, compare, identical
from edgetransfer.measure.drift import measure_drift
from edgetransfer.measure.evidence import Evidence
from edgetransfer.measure.metrics import Outcomes, decisions, per_class
from edgetransfer.measure.speed.latency import histogram, speedup, summarise
from edgetransfer.measure.standing import as_preview
from edgetransfer.measure.verdict import judge, unverified

if TYPE_CHECKING:
    from edgetransfer.measure.agreement import Agreement
    from edgetransfer.measure.class_drops import ClassDrop
    from edgetransfer.measure.comparison import Comparison, GroupResult
    from edgetransfer.measure.drift import Drift
    from edgetransfer.measure.facts import Facts, Timing
    from edgetransfer.measure.gates import Gate
    from edgetransfer.measure.metrics import ClassResult
    from edgetransfer.measure.proofs import Proofs
    from edgetransfer.measure.speed.latency import Histogram, LatencySummary, Speedup
    from edgetransfer.measure.verdict import Verdict


NUMBERS_ONLY = "numbers only: the processor is emulated, so nothing was timed"


@dataclass(frozen=True)
class SeriesFindings:
    """One timed series, `latency` or `end_to_end`."""

    reference: LatencySummary
    candidate: LatencySummary
    speedup: Speedup
    histogram: Histogram


@dataclass(frozen=True)
class Findings:
    """All statistics and the verdict; None where labels or times are missing."""

    drift: Drift
    outcomes: Outcomes | None
    accuracy: Comparison | None
    calibration: Calibration | None
    classes: tuple[ClassResult, ...]
    groups: tuple[GroupResult, ...]
    core: SeriesFindings | None
    end_to_end: SeriesFindings | None
    agreement: Agreement | None
    verdict: Verdict


def examine(facts: Facts) -> Findings:
    """Compute the statistics and judge them against the budget.

    Raises:
        StageError: the reference's logits are not finite.
    """
    drift = measure_drift(facts.reference, facts.candidate)
    drift = drift.of_itself() if facts.identical else drift
    outcomes = _outcomes(facts)
    accuracy = _accuracy(facts, outcomes)
    core = _series(facts.core)
    agreement = None
    if facts.on_host is not None:
        agreement = compare_with_host(facts.reference, facts.candidate, facts.on_host)
    calibrated = _calibration(facts, drift)
    evidence = Evidence(
        drift=drift,
        classes=len(facts.labels),
        accuracy=accuracy,
        latency=None if core is None else core.candidate,
        candidate_bytes=facts.candidate_bytes,
        reference_bytes=facts.reference_bytes,
        residency=facts.residency or {},
        precision=facts.precision,
        timing_invalid=_violations(facts),
        class_drops=_class_drops(facts, outcomes),
        calibration=calibrated,
        speedup=None if core is None else core.speedup,
        proofs=_proofs(facts, agreement),
        merit=_merit(facts, outcomes),
        uncounted="" if facts.sample is None else facts.sample.why_not(),
    )
    verdict = _judged(evidence, facts)
    return Findings(
        drift=drift,
        outcomes=outcomes,
        accuracy=accuracy,
        calibration=calibrated,
        classes=() if outcomes is None else per_class(outcomes, facts.labels),
        groups=()
        if outcomes is None
        else by_group(outcomes, facts.groups, facts.metric, seed=facts.seed),
        core=core,
        end_to_end=_series(facts.end_to_end),
        agreement=agreement,
        verdict=verdict,
    )


def _proofs(facts: Facts, agreement: Agreement | None) -> Proofs:
    if agreement is None or facts.on_host is None:
        return facts.proofs
    return replace(facts.proofs, agreement=(elsewhere(agreement, facts.on_host),))


def _judged(evidence: Evidence, facts: Facts) -> Verdict:
    """Judge, and add the warnings of what was seen beside the measurement."""
    verdict = judge(evidence, facts.budget)
    if facts.on_host is not None and facts.on_host.emulated:
        verdict = replace(verdict, reasons=(*verdict.reasons, NUMBERS_ONLY))
    blocks = (facts.soundness or {}, facts.adaptation or {})
    for warning in (each for block in blocks for each in block.get("warnings", ())):
        verdict = _warned(verdict, gates.transfer(warning["message"], warning["measured_pp"]))
    return verdict if facts.standing.proves else _off_target(verdict, facts)


def _off_target(verdict: Verdict, facts: Facts) -> Verdict:
    """Say UNVERIFIED of what was not measured on the target.

    That a file computes wrong numbers on a processor which was emulated to see that is a FAIL all
    the same.
    """
    standing = facts.standing
    if standing.kind == "numbers" and verdict.name == "FAIL":
        return replace(verdict, reasons=(*verdict.reasons, *standing.why))
    return unverified(standing.why, facts.verify_with, as_preview(verdict.gates))


def _calibration(facts: Facts, drift: Drift) -> Calibration | None:
    if facts.truth is None or drift.non_finite:
        return None
    found = calibration(facts.truth, facts.reference, facts.candidate, seed=facts.seed)
    return found.of_itself() if facts.identical else found


def _accuracy(facts: Facts, outcomes: Outcomes | None) -> Comparison | None:
    """Compare; a network with itself on whatever there is, for that needs no labels."""
    if outcomes is None:
        return None
    found = compare(outcomes, facts.metric, seed=facts.seed)
    return identical(found) if facts.identical else found


def _class_drops(facts: Facts, outcomes: Outcomes | None) -> tuple[ClassDrop, ...]:
    if outcomes is None:
        return ()
    found = class_drops(outcomes, facts.labels)
    if not facts.identical:
        return found
    return tuple(replace(each, upper_pp=0.0, lower_pp=0.0) for each in found)


def _merit(facts: Facts, outcomes: Outcomes | None) -> tuple[Gate, ...]:
    """Return the gates of how good the shipped model is by itself."""
    held = gates.floors(outcomes, facts.labels, facts.budget, seed=facts.seed)
    if outcomes is None:
        return held
    held += (gates.chance(outcomes, facts.labels, facts.metric, seed=facts.seed),)
    if facts.recorded is not None:
        held += (gates.recorded(outcomes, facts.labels, facts.recorded),)
    return held


def _warned(verdict: Verdict, gate: Gate) -> Verdict:
    reasons = (*verdict.reasons, f"warning: {gate.message}")
    return replace(verdict, reasons=reasons, gates=(*verdict.gates, gate))


def _outcomes(facts: Facts) -> Outcomes | None:
    if facts.truth is None:
        return None
    reference, candidate = decisions(facts.reference), decisions(facts.candidate)
    return Outcomes(facts.truth, reference, candidate, len(facts.labels))


def _series(timing: Timing | None) -> SeriesFindings | None:
    if timing is None:
        return None
    first, second = timing.reference, timing.candidate
    return SeriesFindings(
        summarise(first),
        summarise(second),
        speedup(first, second),
        histogram(first, second),
    )


def _violations(facts: Facts) -> tuple[str, ...]:
    if facts.validity.get("valid", True):
        return ()
    return tuple(facts.validity.get("violations", ())) or ("the run was not valid",)
