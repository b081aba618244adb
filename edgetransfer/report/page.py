"""Renders a report and the manifest of its bundle as one HTML page, the verdict at its head."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import Markup

from edgetransfer.measure.verdict import soundness_told
from edgetransfer.report import charts, words
from edgetransfer.report.node import Form, Node
from edgetransfer.report.sections import Section, sections_of
from edgetransfer.report.sections.gates import CLAIMS, reason
from edgetransfer.report.template import rendered
from edgetransfer.report.thumbnails import THUMBNAILS, Thumbnails
from edgetransfer.spec import tasks

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
    name, gates = str(report["verdict"].value), [row.value for row in report["gates"].rows()]
    claims = _task(report).claims
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
        "headline": _headline(name, gates, claims),
        "subject": subject(report, manifest),
        "reasons": reasons,
        "warnings": warnings,
        "command": command,
        "soundness": words.sentence(soundness_told(report.value)),
        "notes": [str(row.value) for row in report["notes"].rows()],
        "next": [
            words.sentence(line)
            for each in sections_of(report.value)
            if each.asks == "next"
            for block in each.read(report.value)
            for line in each.lines(block)
        ],
    }


def _task(report: Node) -> Any:  # noqa: ANN401 (a `pipeline.task.Task`, which stands above this)
    return tasks.load(report["task"].value or tasks.CLASSIFICATION)


def _headline(name: str, gates: list[dict[str, Any]], claims: frozenset[str]) -> str:
    deciding = [gate for gate in gates if gate["decides"]]
    if name == "PASS":
        open_ones = (gate for gate in deciding if gate["status"] == "NOT RUN")
        judged = "could be judged" if CLAIMS & {gate["name"] for gate in open_ones} else "was set"
        met, claim = f"very limit that {judged} is met.", _shown(gates, claims)
        return f"{claim}: e{met}" if claim else f"E{met}"
    if name == "FAIL":
        missed = [gate["name"] for gate in deciding if gate["status"] == "FAIL"]
        if CLAIMS.issuperset(missed):
            one, several = "limit is missed", "limits are missed"
        else:
            one, several = "check failed", "checks failed"
        return f"One {one}." if len(missed) == 1 else f"{len(missed)} {several}."
    if name == "UNVERIFIED":
        return "Built, but not measured on the target."
    return "No limit is shown to be missed, but not every limit is shown to be met."


def _shown(gates: list[dict[str, Any]], claims: frozenset[str]) -> str:
    """Say what a PASS is of, as the first gate of the task has it; empty where that did not."""
    first = next((gate for gate in gates if gate["name"] in claims), None)
    if first is None or first["status"] != "PASS":
        return ""
    claim = str(first["message"]).removeprefix(f"{first['name']}: ")
    claim = claim.partition(" (95 %")[0].partition(":")[0]
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
    """The numbers that a reader looks for first: those of the task, and what every one has."""
    speedup = report["latency"]["speedup"]
    before, after = (report["latency"][side] for side in ("reference", "candidate"))
    agreement, size = report["agreement"], report["size"]
    judged = agreement["n"].show(words.COUNT)
    invalid = report["validity"]["valid"].value is False
    return [
        *_task(report).tiles(report),
        tile(
            "Changed decisions",
            agreement["flips"].show(lambda flips: f"{flips:,} of {judged}"),
            told("95 % bound {}", agreement["flip_rate_ucb95"], words.PERCENT),
        ),
        tile(
            "Speed-up",
            speedup["ratio"].show(words.TIMES),
            "not valid: other work may be in it" if invalid else "",
            SPEEDS.get(speedup["class"].value, ""),
            told("95 % interval {}", speedup["ci95"], words.TIMES.between),
        ),
        tile(
            "Latency, median",
            after["p50_ms"].show(words.MS),
            told("float {}", before["p50_ms"], words.MS),
            told("90th percentile {}", after["p90_ms"], words.MS),
        ),
        tile(
            "Size",
            size["candidate_bytes"].show(words.file_size),
            told("float {}", size["reference_bytes"], words.file_size),
            _smaller(size),
        ),
    ]


SPEEDS = {
    "FASTER": "faster",
    "SLOWER": "slower: that share of the float speed",
    "SAME": "the same within 2 %",
    "UNDECIDED": "undecided whether faster",
}


def tile(label: str, value: str, *notes: str) -> dict[str, Any]:
    """A number with what to read it against; where there is none, the reason is enough."""
    missing = isinstance(value, Markup)
    kept = [] if missing else [note for note in notes if note]
    return {"label": label, "value": value, "notes": kept, "missing": missing}


def told(text: str, node: Node, form: Form) -> str:
    """Write a text around a number; nothing where there is none."""
    return node.show(lambda value: text.format(form(value)), "")


def _smaller(size: Node) -> str:
    before, after = size["reference_bytes"].value, size["candidate_bytes"].value
    return f"{before / after:.1f}× smaller" if before and after and before > after else ""


def render_page(
    report: Mapping[str, Any], manifest: Mapping[str, Any], thumbnails: Thumbnails | None = None
) -> str:
    """Render a report and a manifest, which may lack parts, as a whole HTML document.

    Thumbnails are None where the examples are not at hand.
    """
    shown_of = {key: {**report[key], THUMBNAILS: held} for key, held in (thumbnails or {}).items()}
    reasons = report.get("unavailable", {})
    told = Node({**report, **shown_of}, reasons=reasons, reason="not in this report")
    made = Node(manifest)
    banner = verdict(told, made)
    return document(
        title=f"{banner['name']}: {report['target']} · edgetransfer report",
        verdict=banner,
        tiles=tiles(told),
        sections=shown(sections_of(report), told, made),
        schema=str(report["schema"]),
    )


def document(**values: object) -> str:
    """Render a whole page of ``page.html.j2``."""
    return str(rendered("{% include 'page.html.j2' %}", **values)).lstrip()


def shown(sections: Iterable[Section], report: Node, manifest: Node) -> list[dict[str, Any]]:
    """Return heading and content of every section that has something to show, in order."""
    found = []
    for section in sorted(sections, key=lambda each: each.place):
        values = section.values(report, manifest)
        if values:
            head = {"name": section.name, "title": section.title, "lede": section.lede}
            found.append({**head, **values, "content": rendered(section.template, **values)})
    return found
