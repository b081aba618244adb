"""Adds gates up to one verdict, several verdicts to the worst, and a verdict to an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.errors import BUDGET_MISSED, IntegrityError
from edgetransfer.measure.evidence import CLAIMS, run_gates
from edgetransfer.measure.study.soundness import GATES as SOUNDNESS_GATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.measure.evidence import Evidence
    from edgetransfer.measure.gates import Gate
    from edgetransfer.spec.budget import Budget

VerdictName = Literal["PASS", "FAIL", "INCONCLUSIVE", "UNVERIFIED"]

WORST_FIRST: tuple[VerdictName, ...] = ("FAIL", "INCONCLUSIVE", "UNVERIFIED", "PASS")


@dataclass(frozen=True)
class Verdict:
    """The verdict, the reasons for it in words, and all gates."""

    name: VerdictName
    reasons: tuple[str, ...]
    gates: tuple[Gate, ...]


def judge(evidence: Evidence, budget: Budget) -> Verdict:
    """Run every gate and let the worst deciding one be the verdict.

    A limit that was named and not measured is INCONCLUSIVE, not passed. Where no gate says how good
    the candidate is (`evidence.CLAIMS`) there is no PASS: that the right thing was run is not
    enough.
    """
    run = run_gates(evidence, budget)
    name, extra = _added_up([(gate.name, gate.status) for gate in run if gate.decides])
    return Verdict(name, (*_reasons(run, name), *extra), run)


def _added_up(deciding: Iterable[tuple[str, str]]) -> tuple[VerdictName, tuple[str, ...]]:
    """Return the verdict of names and statuses of gates, and a reason that no gate tells."""
    ran = [(name, status) for name, status in deciding if status != "NOT RUN"]
    statuses = {status for _, status in ran}
    if "FAIL" in statuses:
        return "FAIL", ()
    if "INCONCLUSIVE" in statuses:
        return "INCONCLUSIVE", ()
    if CLAIMS.isdisjoint(name for name, _ in ran):
        nothing = "nothing to judge by: no labels, and the budget names no other limit"
        return "INCONCLUSIVE", (nothing,)
    return "PASS", ()


def refuse_untrue(report: Mapping[str, Any], where: str) -> None:
    """Refuse a report whose verdict does not follow from its own gates.

    Raises:
        IntegrityError: it does not; whoever wrote it sealed it all the same.
    """
    deciding = [(row["name"], row["status"]) for row in report["gates"] if row["decides"]]
    expected, _ = _added_up(deciding)
    if report["verdict"] not in (expected, "UNVERIFIED"):
        raise IntegrityError(
            "the verdict does not follow from the gates",
            where=where,
            found=str(report["verdict"]),
            expected=expected,
            fix="measure the bundle again: edgetransfer bench",
        )


def unverified(
    why: tuple[str, ...], verify_with: str, measured_here: tuple[Gate, ...] = ()
) -> Verdict:
    """Verdict of a target that nothing was measured on.

    Args:
        why: the place where it was measured is not the target.
        verify_with: what verifies it there, in words.
        measured_here: gates of a run elsewhere; kept as information.

    >>> verify = "to verify: edgetransfer bench OUT/b --on ssh:HOST"
    >>> unverified(("measured on x86_64, the target is arm64",), verify).reasons
    ('measured on x86_64, the target is arm64: a preview', \
'not measured on the target; to verify: edgetransfer bench OUT/b --on ssh:HOST')
    """
    reasons = (f"{'; '.join(why)}: a preview", f"not measured on the target; {verify_with}")
    return Verdict("UNVERIFIED", reasons, measured_here)


def worst(names: Iterable[VerdictName]) -> VerdictName:
    """Worst of the verdicts of several targets.

    Raises:
        ValueError: there is no verdict.

    >>> worst(["PASS", "UNVERIFIED"]), worst(["INCONCLUSIVE", "FAIL"])
    ('UNVERIFIED', 'FAIL')
    """
    return min(names, key=WORST_FIRST.index)


def is_sound(report: Mapping[str, Any]) -> bool:
    """Tell whether no gate of soundness warned, see `measure.study.soundness`.

    >>> is_sound({"gates": [{"name": "transfer", "status": "FAIL"}]})
    False
    """
    return not any(g["name"] in SOUNDNESS_GATES and g["status"] == "FAIL" for g in report["gates"])


def exit_code(name: VerdictName, *, strict: bool, sound: bool = True) -> int:
    """Exit code of a finished run: 0, or 8 for FAIL and, if strict, for all but a sound PASS.

    >>> exit_code("FAIL", strict=False), exit_code("UNVERIFIED", strict=False)
    (8, 0)
    >>> exit_code("PASS", strict=True, sound=False)
    8
    """
    missed = name == "FAIL" or (strict and (name != "PASS" or not sound))
    return BUDGET_MISSED if missed else 0


def _reasons(run: tuple[Gate, ...], name: VerdictName) -> tuple[str, ...]:
    """Messages of the gates that made the verdict, of limits not judged, then the warnings.

    A FAIL tells what is inconclusive too; that the right thing was run rightly is news only where
    it was not.
    """
    telling = {"FAIL": ("FAIL", "INCONCLUSIVE")}.get(name, (name,))
    deciding = [gate for gate in run if gate.decides]
    made = [g.message for s in telling for g in deciding if g.status == s and _is_news(g)]
    absent = [g.message for g in deciding if g.status == "NOT RUN" and g.name in CLAIMS]
    warned = [g.message for g in run if not g.decides and g.status == "FAIL"]
    return (*made, *absent, *(f"warning: {message}" for message in warned))


def _is_news(gate: Gate) -> bool:
    return gate.name in CLAIMS or gate.status != "PASS"
