"""Puts the verdict, its reasons and the budget into words.

It does not judge: the report holds the verdict already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from edgetransfer.report import charts, words
from edgetransfer.report.node import absent
from edgetransfer.report.scale import Scale

if TYPE_CHECKING:
    from edgetransfer.report.node import Form, Node

GATES = {
    "finite": "Finite outputs",
    "accuracy": "Accuracy",
    "latency": "Latency",
    "size": "Size",
    "flips": "Changed decisions",
    "sqnr": "SQNR",
    "residency": "Int8 residency",
    "chance": "Better than chance",
    "transfer": "Sound transfer",
}
ALLOWS = {"sqnr": "at least", "size": "at most"}
METHODS = {
    "none": "as it was given",
    "probe": "linear probe",
    "finetune": "fine-tuned",
    "lora": "low-rank adapters",
    "contrastive": "contrastive fine-tuning",
}
VERIFY = "; to verify, run there: "
PREVIEW = "What follows was measured on another machine: a preview, not a result."
NAMED = 160
"""Characters of a message after which names are cut off; all are in their own section."""


def verdict(report: Node, manifest: Node) -> dict[str, Any]:
    """Say the verdict, what it is of, and the reasons as sentences."""
    name = str(report["verdict"].value)
    reasons, warnings, command = [], [], ""
    for text in (str(row.value) for row in report["reasons"].rows()):
        if text.startswith("warning: "):
            warnings.append(_reason(text.removeprefix("warning: ")))
        elif VERIFY in text:
            command = text.partition(VERIFY)[2]
            reasons.append(("", PREVIEW))
        else:
            reasons.append(_reason(text))
    return {
        "name": name,
        "icon": charts.icon(name),
        "headline": _headline(name, [row.value for row in report["gates"].rows()]),
        "subject": subject(report, manifest),
        "reasons": reasons,
        "warnings": warnings,
        "command": command,
    }


def _reason(text: str) -> tuple[str, str]:
    """Split the gate's name from the sentence."""
    name, colon, rest = text.partition(": ")
    if name == "residency" and len(rest) > NAMED:
        rest = rest[:NAMED].rpartition(", ")[0] + ", and more, all named under Residency"
    if colon and name in GATES:
        return GATES[name], words.sentence(rest)
    return "", words.sentence(text)


def _headline(name: str, gates: list[dict[str, Any]]) -> str:
    deciding = [gate["status"] for gate in gates if gate["decides"]]
    if name == "PASS":
        judged = "could be judged" if "NOT RUN" in deciding else "was set"
        return f"Every limit that {judged} is met."
    if name == "FAIL":
        missed = deciding.count("FAIL")
        return "One limit is missed." if missed == 1 else f"{missed} limits are missed."
    if name == "UNVERIFIED":
        return "Built, but not measured on the target."
    return "No limit is shown to be missed, but not every limit is shown to be met."


def subject(report: Node, manifest: Node) -> list[tuple[str, str]]:
    """What was judged, in a few pairs of words."""
    backbone, method = manifest["backbone"]["source"], manifest["fit"]["method"]
    pairs = [("target", words.name(report["target"].value))]
    if not manifest["target"]["title"].missing:
        pairs.append(("device", str(manifest["target"]["title"].value)))
    if not backbone.missing:
        pairs.append(("model", words.name(backbone.value)))
    if not method.missing:
        pairs.append(("fit", METHODS.get(method.value, str(method.value))))
    pairs.append(("precision", report["precision"].show()))
    pairs.append(("judged on", words.plural(report["agreement"]["n"].value or 0, "test example")))
    return pairs


def tiles(report: Node) -> list[dict[str, Any]]:
    """The six numbers that a reader looks for first, each with what to read it against."""
    accuracy, speedup = report["accuracy"], report["latency"]["speedup"]
    before, after = (report["latency"][side] for side in ("reference", "candidate"))
    agreement, size = report["agreement"], report["size"]
    return [
        _tile(
            METRICS.get(accuracy["metric"].value, "Accuracy"),
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
METRICS = {
    "top1": "Top-1 accuracy",
    "macro-f1": "Macro-F1",
    "balanced-accuracy": "Balanced accuracy",
}


def _tile(label: str, value: str, *notes: str) -> dict[str, Any]:
    """A number with what to read it against; where there is none, the reason is enough."""
    missing = isinstance(value, Markup)
    kept = [] if missing else [note for note in notes if note]
    return {"label": label, "value": value, "notes": kept, "missing": missing}


def _told(text: str, node: Node, form: Form) -> str:
    return "" if node.missing else text.format(form(node.value))


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


def gates(report: Node) -> list[dict[str, Any]]:
    """One row a gate: what was measured, the limit, how it went and whether that counts."""
    return [_gate(row) for row in report["gates"].rows()]


def _gate(gate: Node) -> dict[str, Any]:
    name, status = str(gate["name"].value), str(gate["status"].value)
    unit, limit, measured = gate["unit"].value, gate["limit"], gate["measured"]
    counted = unit in ("logits", "Conv")
    after = "" if counted else f"{words.SPACE}{unit}"
    if measured.missing and measured.reason == gate["message"].value:
        shown: str = absent("not measured")
    elif measured.missing or counted:
        shown = measured.show(words.COUNT)
    else:
        shown = words.apart(measured.value, limit.value or 0.0) + after
    warns = status == "FAIL" and not gate["decides"].value
    return {
        "name": GATES.get(name, name),
        "measured": shown,
        "limit": _allowed(name, limit, after),
        "meter": _meter(gate),
        "status": "WARNING" if warns else status,
        "icon": charts.icon("WARNING" if warns else status),
        "decides": bool(gate["decides"].value),
        "message": _reason(str(gate["message"].value))[1],
    }


def _allowed(name: str, limit: Node, after: str) -> str:
    if limit.missing:
        return limit.show()
    if limit.value == 0:
        return "none"
    return f"{ALLOWS.get(name, 'under')} {limit.value:g}{after}"


def _meter(gate: Node) -> Markup | None:
    measured, limit = gate["measured"].value, gate["limit"].value
    if gate["measured"].missing or not limit or limit <= 0:
        return None
    scale = Scale(0, 1.25 * max(measured, limit))
    return charts.meter(scale, measured, limit)
