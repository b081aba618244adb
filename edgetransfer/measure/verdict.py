"""Adds gates up to one verdict, several verdicts to the worst, and a verdict to an exit code.

It does not measure or print.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.errors import BUDGET_MISSED
from edgetransfer.measure import gates
from edgetransfer.measure.agreement import device

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.measure.agreement import Agreement, Cure
    from edgetransfer.measure.comparison import Comparison
    from edgetransfer.measure.drift import Drift
    from edgetransfer.measure.gates import Gate
    from edgetransfer.measure.latency import LatencySummary
    from edgetransfer.spec.recipe import Budget

VerdictName = Literal["PASS", "FAIL", "INCONCLUSIVE", "UNVERIFIED"]

WORST_FIRST: tuple[VerdictName, ...] = ("FAIL", "INCONCLUSIVE", "UNVERIFIED", "PASS")


@dataclass(frozen=True)
class Evidence:
    """Everything the gates look at.

    Args:
        drift: of the logits; always there.
        classes: number of logits an example has.
        accuracy: None where the examples have no labels.
        latency: of the candidate's core.onnx, None where it was not timed.
        candidate_bytes: size of model.onnx.
        residency: {"float_conv": int, "int8_conv": int, "float_ops": [names]}.
        quantised: whether a Conv in float is a surprise.
        timing_invalid: why the times are not to be trusted, empty where they are.
        agreement: of device and build host, None where they are one.
        cure: what was tried where they disagree.
    """

    drift: Drift
    classes: int
    accuracy: Comparison | None
    latency: LatencySummary | None
    candidate_bytes: int
    residency: Mapping[str, Any] = field(default_factory=dict)
    quantised: bool = False
    timing_invalid: tuple[str, ...] = ()
    agreement: Agreement | None = None
    cure: Cure | None = None


@dataclass(frozen=True)
class Verdict:
    """The verdict, the reasons for it in words, and all gates."""

    name: VerdictName
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]


def judge(evidence: Evidence, budget: Budget) -> Verdict:
    """Run every gate that applies and let the worst deciding one be the verdict.

    `finite` and `accuracy` always stand; latency, size, flips and sqnr where the budget names
    them; residency of a quantised model warns. A limit that was named and not measured is
    INCONCLUSIVE, not passed. Where nothing beyond `finite` could be judged there is no PASS.
    """
    run = _gates(evidence, budget)
    ran = [gate for gate in run if gate.decides and gate.status != "NOT RUN"]
    statuses = {gate.status for gate in ran}
    name: VerdictName = "PASS"
    extra: tuple[str, ...] = ()
    if "FAIL" in statuses:
        name = "FAIL"
    elif "INCONCLUSIVE" in statuses:
        name = "INCONCLUSIVE"
    elif len(ran) == 1:
        name = "INCONCLUSIVE"
        extra = ("nothing to judge by: no labels, and the budget names no other limit",)
    return Verdict(name, (*_reasons(run, name), *extra), run)


def unverified(command: str, measured_here: tuple[Gate, ...] = ()) -> Verdict:
    """Verdict of a target that nothing was measured on.

    Args:
        command: what verifies it there.
        measured_here: gates of a run elsewhere; kept as information.

    >>> unverified("edgetransfer bench OUT --target b").reasons
    ('not measured on the target; to verify, run there: edgetransfer bench OUT --target b',)
    """
    reasons = (f"not measured on the target; to verify, run there: {command}",)
    return Verdict("UNVERIFIED", reasons, measured_here)


def worst(names: Iterable[VerdictName]) -> VerdictName:
    """Worst of the verdicts of several targets.

    Raises:
        ValueError: there is no verdict.

    >>> worst(["PASS", "UNVERIFIED"]), worst(["INCONCLUSIVE", "FAIL"])
    ('UNVERIFIED', 'FAIL')
    """
    return min(names, key=WORST_FIRST.index)


def exit_code(name: VerdictName, *, strict: bool) -> int:
    """Exit code of a finished run: 0, or 8 for FAIL and, if strict, for anything but PASS.

    >>> exit_code("FAIL", strict=False), exit_code("UNVERIFIED", strict=False)
    (8, 0)
    """
    missed = name == "FAIL" or (strict and name != "PASS")
    return BUDGET_MISSED if missed else 0


def _gates(evidence: Evidence, budget: Budget) -> tuple[Gate, ...]:
    run = [
        gates.finite(evidence.drift, evidence.classes),
        gates.accuracy(evidence.accuracy, budget.max_drop_pp),
    ]
    if evidence.agreement is not None:
        run.append(device(evidence.agreement, evidence.cure))
    if budget.max_latency_ms is not None:
        invalid = evidence.timing_invalid
        run.append(gates.latency(evidence.latency, budget.max_latency_ms, invalid))
    if budget.max_size_mib is not None:
        run.append(gates.size(evidence.candidate_bytes, budget.max_size_mib))
    if budget.max_flips_pct is not None:
        run.append(gates.flips(evidence.drift, budget.max_flips_pct))
    if budget.min_sqnr_db is not None:
        run.append(gates.sqnr(evidence.drift, budget.min_sqnr_db))
    if evidence.quantised and "float_conv" in evidence.residency:
        count = int(evidence.residency["float_conv"] or 0)
        run.append(gates.residency(count, evidence.residency.get("float_ops", ())))
    return tuple(run)


def _reasons(run: tuple[Gate, ...], name: VerdictName) -> tuple[str, ...]:
    """Messages of the gates that made the verdict, of those not run, then the warnings.

    A FAIL tells what is inconclusive too; `finite` is news only when it fails.
    """
    telling = {"FAIL": ("FAIL", "INCONCLUSIVE")}.get(name, (name,))
    deciding = [gate for gate in run if gate.decides]
    made = [g.message for s in telling for g in deciding if g.status == s and _is_news(g)]
    absent = [gate.message for gate in deciding if gate.status == "NOT RUN"]
    warned = [g.message for g in run if not g.decides and g.status == "FAIL"]
    return (*made, *absent, *(f"warning: {message}" for message in warned))


def _is_news(gate: Gate) -> bool:
    return gate.name != "finite" or gate.status == "FAIL"
