"""From one measurement to its statistics, from those to gates and one verdict, to an exit code."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.errors import BUDGET_MISSED, UNDECIDED, UNMEASURED, IntegrityError
from edgetransfer.measure import gates, proofs
from edgetransfer.measure.agreement import Agreement, compare_with_host
from edgetransfer.measure.drift import Drift, measure_drift
from edgetransfer.measure.speed.latency import (
    LatencySummary,
    Speedup,
    TimeHistogram,
    histogram,
    speedup,
    summarise,
)
from edgetransfer.measure.target_match import as_preview

if TYPE_CHECKING:
    from edgetransfer.measure.gates import Gate
    from edgetransfer.measure.measurement import Judged, Measurement, Timing


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
    """Compute the statistics; StageError where the reference's outputs are not finite."""
    drift = measure_drift(raw.reference, raw.candidate, raw.task)
    drift = drift.of_itself() if raw.identical else drift
    host, pair = raw.on_host, (raw.reference, raw.candidate)
    return Findings(
        raw=raw,
        drift=drift,
        judged=raw.task.examine(raw, drift),
        core=_series(raw.core),
        end_to_end=_series(raw.end_to_end),
        agreement=None if host is None else compare_with_host(*pair, host, raw.task),
    )


def _series(timing: Timing | None) -> SeriesFindings | None:
    if timing is None:
        return None
    first, second = timing.reference, timing.candidate
    compared = speedup(first, second), histogram(first, second)
    return SeriesFindings(summarise(first), summarise(second), *compared)


VerdictName = Literal["PASS", "FAIL", "INCONCLUSIVE", "UNVERIFIED"]
WORST_FIRST: tuple[VerdictName, ...] = ("FAIL", "INCONCLUSIVE", "UNVERIFIED", "PASS")
OF_EXAMPLES = frozenset(("flips", "sqnr"))
"""Gates that the examples speak for, as the task's claims are, so that none passes on examples that
the model knew."""
CLAIMS = OF_EXAMPLES | {"latency", "size"}
"""Gates that say how good the candidate is, as the task's claims do; the others say that it is the
right one, and is run rightly, so that they alone make no PASS."""
SOUNDNESS_GATES = ("chance", "transfer")
"""Gates that are about the transfer itself: a FAIL of one makes no PASS with ``--strict``."""
NUMBERS_ONLY = "numbers only: the processor is emulated, so nothing was timed"


@dataclass(frozen=True)
class Verdict:
    """The verdict, the reasons for it in words, and all gates."""

    name: VerdictName
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]


def judge(found: Findings) -> Verdict:
    """Run every gate and let the worst deciding one be the verdict.

    A limit that was named and not measured is INCONCLUSIVE, not passed. Where no gate says how good
    the candidate is (`CLAIMS`) there is no PASS: that the right thing was run is not enough. What
    was not measured on the target is UNVERIFIED.
    """
    raw = found.raw
    run, claims = run_gates(found), CLAIMS | raw.task.claims
    name, extra = _added_up([(gate.name, gate.status) for gate in run if gate.decides], claims)
    reasons = (*_reasons(run, name, claims), *extra)
    if raw.on_host is not None and raw.on_host.emulated:
        reasons = (*reasons, NUMBERS_ONLY)
    warned = tuple(
        gates.held(  # this transfer is not sound, as its study found; it never decides
            "transfer", "FAIL", each["message"], (each["measured_pp"], 0.0, "pp"), decides=False
        )
        for block in (raw.soundness or {}, raw.adaptation or {})
        for each in block.get("warnings", ())
    )
    reasons = (*reasons, *(f"warning: {gate.message}" for gate in warned))
    verdict = Verdict(name, reasons, (*run, *warned))
    if raw.standing.proves:
        return verdict
    if raw.standing.kind == "numbers" and name == "FAIL":
        # A wrong number on a processor that was emulated to see it is a FAIL all the same.
        return replace(verdict, reasons=(*reasons, *raw.standing.why))
    return unverified(raw.standing.why, raw.verify_with, as_preview(verdict.gates))


def run_gates(found: Findings) -> tuple[Gate, ...]:
    """Run every gate: G0 to G12, the task's, latency and size where the budget names them."""
    raw, proven, task = found.raw, found.raw.proofs, found.judged.gates()
    run = (
        proofs.contract(proven.contract),
        proofs.integrity(proven.integrity),
        proofs.preprocessing(proven.preprocessing),
        proofs.export(proven.export),
        gates.finite(found.drift, raw.candidate.size),
        *task.loss,
        gates.flips(found.drift, raw.budget.max_flips_pct),
        gates.sqnr(found.drift, raw.budget.min_sqnr_db),
        *task.values,
        *task.merit,
        proofs.fusion(proven.fusion),
        *_agreement(found.agreement),
        proofs.determinism(proven.repeats),
        proofs.residency(raw.residency or {}, proven.intended),
        *task.parts,
        *_costs(found),
        proofs.rebuild(proven.rebuilds),
    )
    uncounted = "" if raw.sample is None else raw.sample.why_not()
    if not uncounted:
        return run
    speaking = OF_EXAMPLES | raw.task.claims
    return tuple(_open(gate, uncounted) if gate.name in speaking else gate for gate in run)


def _open(gate: Gate, uncounted: str) -> Gate:
    """Leave open what examples speak for that show nothing; a loss is one all the same."""
    if gate.status in ("FAIL", "NOT RUN"):
        return gate
    message = f"{gate.name}: not judged, {uncounted}"
    return replace(gate, status="INCONCLUSIVE", message=message, examples_needed=None)


def _costs(found: Findings) -> tuple[Gate, ...]:
    """G11, and what the budget says of time and size."""
    raw, budget, core = found.raw, found.raw.budget, found.core
    sizes, invalid = (raw.reference_bytes, raw.candidate_bytes), raw.violations()
    speedup = None if core is None else core.speedup
    run = [gates.performance(speedup, raw.precision, sizes, budget.max_size_mib)]
    if invalid and run[0].status != "NOT RUN":
        run = [gates.not_run("performance", "the times are not valid", decides=False)]
    if budget.max_latency_ms is not None:
        latency = None if core is None else core.candidate
        run.append(gates.latency(latency, budget.max_latency_ms, invalid))
    if budget.max_size_mib is not None:
        run.append(gates.size(raw.candidate_bytes, budget.max_size_mib))
    return tuple(run)


def _agreement(agreement: Agreement | None) -> Iterable[Gate]:
    """G5 and G6: one of them where this is another machine, or an emulated one."""
    found = {
        "preview": gates.not_run("preview", "nothing ran on an emulated processor"),
        "device": gates.not_run("device", "nothing ran on another machine than the build host"),
    }
    if agreement is not None:
        gate = agreement.gate()
        found[gate.name] = gate
    return found.values()


def _added_up(
    deciding: Iterable[tuple[str, str]], claims: Collection[str]
) -> tuple[VerdictName, tuple[str, ...]]:
    """Return the verdict of names and statuses of gates, and a reason that no gate tells."""
    ran = [(name, status) for name, status in deciding if status != "NOT RUN"]
    statuses = {status for _, status in ran}
    if "FAIL" in statuses:
        return "FAIL", ()
    if "INCONCLUSIVE" in statuses:
        return "INCONCLUSIVE", ()
    if not any(name in claims for name, _ in ran):
        nothing = "nothing to judge by: no labels, and the budget names no other limit"
        return "INCONCLUSIVE", (nothing,)
    return "PASS", ()


def refuse_untrue(report: Mapping[str, Any], where: str, claims: frozenset[str]) -> None:
    """Refuse a report whose verdict does not follow from its own gates: IntegrityError.

    Whoever wrote it sealed it all the same. `claims` are the names of the task's gates that say how
    good the candidate is.
    """
    deciding = [(row["name"], row["status"]) for row in report["gates"] if row["decides"]]
    expected, _ = _added_up(deciding, CLAIMS | claims)
    if report["verdict"] not in (expected, "UNVERIFIED"):
        raise IntegrityError(
            "the verdict does not follow from the checks",
            where=where,
            found=str(report["verdict"]),
            expected=expected,
            fix="measure the bundle again: edgetransfer bench",
        )


def unverified(
    why: tuple[str, ...], verify_with: str, measured_here: tuple[Gate, ...] = ()
) -> Verdict:
    """Verdict of a target that nothing was measured on.

    Gates of a run elsewhere are kept as information.

    >>> verify = "to verify: edgetransfer bench OUT/b --on ssh:HOST"
    >>> unverified(("measured on x86_64, the target is arm64",), verify).reasons
    ('measured on x86_64, the target is arm64: a preview', \
    'not measured on the target; to verify: edgetransfer bench OUT/b --on ssh:HOST')
    """
    reasons = (f"{'; '.join(why)}: a preview", f"not measured on the target; {verify_with}")
    return Verdict("UNVERIFIED", reasons, measured_here)


def worst(names: Iterable[VerdictName]) -> VerdictName:
    """Return the worst of the verdicts of several targets; ValueError without any.

    >>> worst(["PASS", "UNVERIFIED"]), worst(["INCONCLUSIVE", "FAIL"])
    ('UNVERIFIED', 'FAIL')
    """
    return min(names, key=WORST_FIRST.index)


def is_sound(report: Mapping[str, Any]) -> bool:
    """Tell whether no gate of soundness warned.

    >>> is_sound({"gates": [{"name": "transfer", "status": "FAIL"}]})
    False
    """
    return not any(g["name"] in SOUNDNESS_GATES and g["status"] == "FAIL" for g in report["gates"])


def soundness_told(report: Mapping[str, Any]) -> str:
    """Say in a line whether the transfer is sound, by a report's gates and its block of soundness.

    >>> passed = {"name": "chance", "status": "PASS"}
    >>> soundness_told({"gates": [passed], "soundness": {"tested": True}})
    'better than chance; no simpler baseline was better'
    >>> soundness_told({"gates": [{"name": "transfer", "status": "FAIL"}]})
    'doubtful, 1 warning; the transfer was not tested'
    """
    gates = [gate for gate in report["gates"] if gate["name"] in SOUNDNESS_GATES]
    failed = sum(gate["status"] == "FAIL" for gate in gates)
    found = [f"doubtful, {failed} warning{'s' if failed > 1 else ''}"] if failed else []
    against_chance = [gate["status"] for gate in gates if gate["name"] == "chance"]
    told = {"PASS": "better than chance", "INCONCLUSIVE": "not shown to be better than chance"}
    found += [told[status] for status in against_chance if status in told]
    block = report.get("soundness")
    if block is None:
        found.append("the transfer was not tested")
    elif not block["tested"]:
        found.append(f"the transfer was not tested: {block['reason']}")
    elif not failed:
        found.append("no simpler baseline was better")
    return "; ".join(found)


def exit_code(name: VerdictName, *, strict: bool, sound: bool = True) -> int:
    """Exit code of a finished run: 8 for FAIL, 0 for others, and if strict, for a sound PASS alone.

    >>> exit_code("FAIL", strict=False), exit_code("UNVERIFIED", strict=False)
    (8, 0)
    >>> [exit_code(name, strict=True) for name in ("INCONCLUSIVE", "UNVERIFIED", "PASS")]
    [10, 11, 0]
    >>> exit_code("PASS", strict=True, sound=False)
    8
    """
    if name == "FAIL" or (strict and name == "PASS" and not sound):
        return BUDGET_MISSED
    return {"INCONCLUSIVE": UNDECIDED, "UNVERIFIED": UNMEASURED}.get(name, 0) if strict else 0


def _reasons(run: tuple[Gate, ...], name: VerdictName, claims: Collection[str]) -> tuple[str, ...]:
    """Messages of the gates that made the verdict, of limits not judged, then the warnings.

    A FAIL tells what is inconclusive too; that the right thing was run rightly is news only where
    it was not.
    """
    telling = {"FAIL": ("FAIL", "INCONCLUSIVE")}.get(name, (name,))
    deciding = [gate for gate in run if gate.decides]
    made = [
        g.message
        for s in telling
        for g in deciding
        if g.status == s and (g.status != "PASS" or g.name in claims)
    ]
    absent = [g.message for g in deciding if g.status == "NOT RUN" and g.name in claims]
    warned = [g.message for g in run if not g.decides and g.status == "FAIL"]
    return (*made, *absent, *(f"warning: {message}" for message in warned))
