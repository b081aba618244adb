"""Everything that the gates look at, and all of them in their order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgetransfer.measure import gates
from edgetransfer.measure.proofs import UNPROVEN, Proofs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.measure.calibration import Calibration
    from edgetransfer.measure.class_drops import ClassDrop
    from edgetransfer.measure.comparison import Comparison
    from edgetransfer.measure.drift import Drift
    from edgetransfer.measure.gates import Gate
    from edgetransfer.measure.speed.latency import LatencySummary, Speedup
    from edgetransfer.spec.budget import Budget

USUAL_FLIPS_PCT, USUAL_SQNR_DB, USUAL_KL = 2.0, 20.0, 0.01
USUAL_CLASS_DROP_PP, USUAL_ECE_CHANGE = 5.0, 0.02
"""What gates that the budget does not name warn by: starting points, not promises."""

OF_EXAMPLES = frozenset(
    ("accuracy", "flips", "sqnr", "kl", "classes", "calibration", *gates.FLOORS)
)
"""Gates that the examples speak for, so that none passes on examples that the model knew."""
CLAIMS = OF_EXAMPLES | {"latency", "size"}
"""Gates that say how good the candidate is; the others say that it is the right one, and is run
rightly, so that they alone make no PASS."""

ELSEWHERE = {
    "G5": ("preview", "nothing ran on an emulated processor"),
    "G6": ("device", "nothing ran on another machine than the build host"),
}


@dataclass(frozen=True)
class Evidence:
    """Everything the gates look at.

    Args:
        drift: of the logits; always there.
        classes: number of logits an example has.
        accuracy: None where the examples have no labels.
        latency: of the candidate's core.onnx, None where it was not timed.
        candidate_bytes: size of model.onnx.
        reference_bytes: of reference.onnx.
        residency: {"float_conv": int, "int8_conv": int, "float_ops": [names]}; empty where the
            runtime's graph was not looked at.
        precision: of the candidate.
        timing_invalid: why the times are not to be trusted, empty where they are.
        class_drops: what each class loses; empty without labels.
        calibration: None without labels, or with logits that are not finite.
        speedup: of the candidate over the floats, None where it was not timed.
        proofs: that the right thing was measured.
        merit: gates of how good the shipped model is by itself.
        uncounted: why the examples show nothing, empty where they do.
    """

    drift: Drift
    classes: int
    accuracy: Comparison | None
    latency: LatencySummary | None
    candidate_bytes: int
    reference_bytes: int = 0
    residency: Mapping[str, Any] = field(default_factory=dict)
    precision: str = "w8a8"
    timing_invalid: tuple[str, ...] = ()
    class_drops: tuple[ClassDrop, ...] = ()
    calibration: Calibration | None = None
    speedup: Speedup | None = None
    proofs: Proofs = UNPROVEN
    merit: tuple[Gate, ...] = ()
    uncounted: str = ""


def run_gates(evidence: Evidence, budget: Budget) -> tuple[Gate, ...]:
    """Run every gate: G0 to G12, those of merit, latency and size where the budget names them."""
    proofs = evidence.proofs
    run = (
        gates.contract(proofs.contract),
        gates.integrity(proofs.integrity),
        gates.preprocessing(proofs.preprocessing),
        gates.export(proofs.export),
        *_quality(evidence, budget),
        *evidence.merit,
        gates.fusion(proofs.fusion),
        *_agreement(proofs.agreement),
        gates.determinism(proofs.repeats),
        gates.residency(evidence.residency, proofs.intended),
        *_parts(evidence, budget),
        *_costs(evidence, budget),
        gates.rebuild(proofs.rebuilds),
    )
    return tuple(_open(gate, evidence.uncounted) for gate in run) if evidence.uncounted else run


def _open(gate: Gate, uncounted: str) -> Gate:
    """Leave open what examples speak for that show nothing; a loss is one all the same."""
    if gate.name not in OF_EXAMPLES or gate.status in ("FAIL", "NOT RUN"):
        return gate
    message = f"{gate.name}: not judged, {uncounted}"
    return replace(gate, status="INCONCLUSIVE", message=message, examples_needed=None)


def _quality(evidence: Evidence, budget: Budget) -> tuple[Gate, ...]:
    """G3: how far the candidate is from the floats."""
    drift = evidence.drift
    flips, sqnr, kl = budget.max_flips_pct, budget.min_sqnr_db, budget.max_kl
    return (
        gates.finite(drift, evidence.classes),
        gates.accuracy(evidence.accuracy, budget.max_drop_pp, evidence.precision),
        gates.flips(drift, _or(flips, USUAL_FLIPS_PCT), named=flips is not None),
        gates.sqnr(drift, _or(sqnr, USUAL_SQNR_DB), named=sqnr is not None),
        gates.kl(drift, _or(kl, USUAL_KL), named=kl is not None),
    )


def _parts(evidence: Evidence, budget: Budget) -> tuple[Gate, ...]:
    """G9 and G10: what labels show beyond accuracy."""
    drop, ece = budget.max_class_drop_pp, budget.max_ece_change
    reason = "not judged, the examples have no labels"
    if evidence.drift.non_finite:
        reason = "not defined with NaN or Inf among the logits"
    return (
        gates.classes(evidence.class_drops, _or(drop, USUAL_CLASS_DROP_PP), named=drop is not None),
        gates.calibration(
            evidence.calibration or reason, _or(ece, USUAL_ECE_CHANGE), named=ece is not None
        ),
    )


def _costs(evidence: Evidence, budget: Budget) -> tuple[Gate, ...]:
    """G11, and what the budget says of time and size."""
    sizes = evidence.reference_bytes, evidence.candidate_bytes
    run = [gates.performance(evidence.speedup, evidence.precision, sizes, budget.max_size_mib)]
    if evidence.timing_invalid and run[0].status != "NOT RUN":
        run = [gates.not_run("performance", "G11", "the times are not valid", decides=False)]
    if budget.max_latency_ms is not None:
        invalid = evidence.timing_invalid
        run.append(gates.latency(evidence.latency, budget.max_latency_ms, invalid))
    if budget.max_size_mib is not None:
        run.append(gates.size(evidence.candidate_bytes, budget.max_size_mib))
    return tuple(run)


def _agreement(found: tuple[Gate, ...]) -> tuple[Gate, ...]:
    """G5 and G6 as `agreement` judged them; what it did not judge was not run."""
    codes = {gate.code for gate in found}
    absent = [
        gates.not_run(name, code, reason, decides=True)
        for code, (name, reason) in ELSEWHERE.items()
        if code not in codes
    ]
    return tuple(sorted((*found, *absent), key=lambda gate: gate.code))


def _or(limit: float | None, usual: float) -> float:
    return usual if limit is None else limit
