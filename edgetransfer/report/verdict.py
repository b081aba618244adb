"""Puts the verdict, its reasons and the budget into words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.measure.study.soundness import summary
from edgetransfer.measure.verdict import CLAIMS
from edgetransfer.report import charts, words
from edgetransfer.report.sections.gates import reason

if TYPE_CHECKING:
    from edgetransfer.report.node import Form, Node

METHODS = {
    "none": "as it was given",
    "probe": "linear probe",
    "finetune": "fine-tuned",
    "lora": "low-rank adapters",
    "contrastive": "contrastive fine-tuning",
}
VERIFY = re.compile(r"; to verify(?:, run there)?: ")
"""Older reports name a command for the device itself."""
PREVIEW = "What follows was measured on another machine: a preview, not a result."


def verdict(report: Node, manifest: Node) -> dict[str, Any]:
    """Say the verdict, what it is of, and the reasons as sentences."""
    name = str(report["verdict"].value)
    reasons, warnings, command = [], [], ""
    for text in (str(row.value) for row in report["reasons"].rows()):
        if text.startswith("warning: "):
            warnings.append(reason(text.removeprefix("warning: ")))
        elif VERIFY.search(text):
            command = VERIFY.split(text, 1)[1]
            reasons.append(("", PREVIEW))
        else:
            reasons.append(reason(text))
    return {
        "name": name,
        "icon": charts.icon(name),
        "headline": _headline(name, [row.value for row in report["gates"].rows()]),
        "subject": subject(report, manifest),
        "reasons": reasons,
        "warnings": warnings,
        "command": command,
        "soundness": words.sentence(summary(report.value)),
        "notes": [str(row.value) for row in report["notes"].rows()],
    }


def _headline(name: str, gates: list[dict[str, Any]]) -> str:
    deciding = [gate for gate in gates if gate["decides"]]
    if name == "PASS":
        open_ones = (gate for gate in deciding if gate["status"] == "NOT RUN")
        judged = "could be judged" if CLAIMS & {gate["name"] for gate in open_ones} else "was set"
        met, claim = f"very limit that {judged} is met.", _shown(gates)
        return f"{claim}: e{met}" if claim else f"E{met}"
    if name == "FAIL":
        missed = [gate["name"] for gate in deciding if gate["status"] == "FAIL"]
        what = ("limit is", "limits are") if CLAIMS.issuperset(missed) else ("gate is", "gates are")
        many = len(missed) != 1
        return f"{len(missed) if many else 'One'} {what[many]} missed."
    if name == "UNVERIFIED":
        return "Built, but not measured on the target."
    return "No limit is shown to be missed, but not every limit is shown to be met."


def _shown(gates: list[dict[str, Any]]) -> str:
    """Say what a PASS is of, as the gate of accuracy has it; empty where that did not pass."""
    passed = (g["message"] for g in gates if (g["name"], g["status"]) == ("accuracy", "PASS"))
    claim = next(passed, "").removeprefix("accuracy: ").split(" (95 %")[0].split(":")[0]
    return claim[:1].upper() + claim[1:]


def subject(report: Node, manifest: Node) -> list[tuple[str, str]]:
    """What was judged, in a few pairs of words."""
    judged, given = report["agreement"]["n"].value or 0, report["examples"]["given"].value
    of = f" of {given:,} given" if given not in (None, judged) else ""
    pairs = {
        "target": words.name(report["target"].value),
        "device": manifest["target"]["title"].show(str, ""),
        "model": manifest["backbone"]["source"].show(words.name, ""),
        "fit": manifest["fit"]["method"].show(lambda method: METHODS.get(method, str(method)), ""),
        "precision": report["precision"].show(),
        "judged on": words.plural(judged, "test example") + of,
    }
    return [(name, text) for name, text in pairs.items() if text]


def tiles(report: Node) -> list[dict[str, Any]]:
    """The six numbers that a reader looks for first, each with what to read it against."""
    accuracy, speedup = report["accuracy"], report["latency"]["speedup"]
    before, after = (report["latency"][side] for side in ("reference", "candidate"))
    agreement, size = report["agreement"], report["size"]
    invalid = report["validity"]["valid"].value is False
    return [
        _tile(
            words.METRICS.get(accuracy["metric"].value, "Accuracy"),
            accuracy["candidate"].show(words.PERCENT),
            _told("float {}", accuracy["reference"], words.PERCENT),
            _told("95 % interval {}", accuracy["candidate_ci95"], words.PERCENT.between),
        ),
        _tile(
            "Change from float",
            accuracy["delta_pp"].show(words.CHANGE),
            _told("95 % bound of the loss {}", accuracy["drop_ucb95_pp"], _loss(report)),
            _told("allowed {}", report["budget"]["max_drop_pp"], ALLOWED),
        ),
        _tile(
            "Changed decisions",
            _flips(agreement),
            _told("95 % bound {}", agreement["flip_rate_ucb95"], words.PERCENT),
        ),
        _tile(
            "Speed-up",
            speedup["ratio"].show(words.TIMES),
            "not valid: other work may be in it" if invalid else "",
            SPEEDS.get(speedup["class"].value, ""),
            _told("95 % interval {}", speedup["ci95"], words.TIMES.between),
        ),
        _tile(
            "Latency, median",
            after["p50_ms"].show(words.MS),
            _told("float {}", before["p50_ms"], words.MS),
            _told("90th percentile {}", after["p90_ms"], words.MS),
        ),
        _tile(
            "Size",
            size["candidate_bytes"].show(words.file_size),
            _told("float {}", size["reference_bytes"], words.file_size),
            _smaller(size),
        ),
    ]


SPEEDS = {
    "FASTER": "faster",
    "SLOWER": "slower: that share of the float speed",
    "SAME": "the same within 2 %",
    "UNDECIDED": "undecided whether faster",
}
ALLOWED = words.Quantity(f"{words.SPACE}pp")


def _tile(label: str, value: str, *notes: str) -> dict[str, Any]:
    """A number with what to read it against; where there is none, the reason is enough."""
    missing = isinstance(value, Markup)
    kept = [] if missing else [note for note in notes if note]
    return {"label": label, "value": value, "notes": kept, "missing": missing}


def _told(text: str, node: Node, form: Form) -> str:
    return node.show(lambda value: text.format(form(value)), "")


def _loss(report: Node) -> Form:
    limit = report["budget"]["max_drop_pp"].value or 0.0
    return lambda loss: f"{words.apart(loss, limit)}{words.SPACE}pp"


def _flips(agreement: Node) -> str:
    if agreement["flips"].missing or agreement["n"].missing:
        return agreement["flips"].show()
    return f"{agreement['flips'].value:,} of {agreement['n'].value:,}"


def _smaller(size: Node) -> str:
    before, after = size["reference_bytes"].value, size["candidate_bytes"].value
    return f"{before / after:.1f}× smaller" if before and after and before > after else ""
