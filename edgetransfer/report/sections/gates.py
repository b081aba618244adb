"""The gates: what each measured, how it went, whether it counts, how many examples it takes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from edgetransfer.measure.gates import rounded
from edgetransfer.measure.verdict import CLAIMS as OF_ALL
from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.node import Node, absent
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from markupsafe import Markup


Rows = list[dict[str, Any]]
CLAIMS = set(OF_ALL)
"""Names of gates that say how good the candidate is; a task adds its own."""
GATES = {
    "contract": "Inputs and outputs",
    "integrity": "Same files",
    "preprocessing": "Preprocessing",
    "export": "Export",
    "finite": "Finite outputs",
    "flips": "Changed decisions",
    "sqnr": "SQNR",
    "fusion": "Fused kernels",
    "preview": "Other instruction set",
    "device": "Device against host",
    "determinism": "Repeatability",
    "residency": "Int8 residency",
    "performance": "Faster than floats",
    "latency": "Latency",
    "size": "Size",
    "rebuild": "Rebuilt engines",
    "transfer": "Sound transfer",
}
"""How each is called; a task adds its own, and to `ALLOWS`."""
ALLOWS = {
    "sqnr": "at least",
    "fusion": "at least",
    "preview": "at least",
    "device": "at least",
    "size": "at most",
    "preprocessing": "at most",
    "export": "at most",
    "performance": "over",
}
COUNTED = ("outputs", "Conv", "mismatches", "deviations", "flips")
"""Units whose numbers are counts that ought to be 0."""
SMALL = {"of range": "", "nats": "", "": ""}
"""Units whose numbers are mostly far under 1, and what is written behind them."""
NAMED = 160
"""Characters of a message after which names are cut off; all are in their own section."""
HEADS = {
    "claim": "Limits and quality: decide the verdict",
    "proof": "Correctness of the measurement: always decides",
    "warns": "Warnings only: no limit was set for them",
    "not run": "Not run",
}


def reason(text: str) -> tuple[str, str]:
    """Split the gate's name from the sentence.

    >>> reason("size: 2.29 MiB of 4.0 MiB allowed")
    ('Size', '2.29 MiB of 4.0 MiB allowed.')
    """
    name, colon, rest = text.partition(": ")
    if name == "residency" and len(rest) > NAMED:
        rest = rest[:NAMED].rpartition(", ")[0] + ", and more, all named under Residency"
    if colon and name in GATES:
        return GATES[name], words.sentence(rest)
    return "", words.sentence(text)


def gates(rows: Node) -> dict[str, Any]:
    """Group the gates by what they are for and whether they decide."""
    counted = any(row["decides"].value for row in rows.rows())
    shown = [_gate(row) for row in rows.rows()]
    heads = HEADS if counted else HEADS | {"warns": "Measured elsewhere, for information"}
    groups = [
        {"head": head, "key": key, "gates": [row for row in shown if row["group"] == key]}
        for key, head in heads.items()
    ]
    uncounted = "" if counted else " Nothing here counts yet: it was not measured on the target."
    groups = [group for group in groups if group["gates"]]
    return {"groups": groups, "folds": _folds(shown, groups), "lede": LEDE + uncounted}


def _folds(shown: Rows, groups: Rows) -> Rows:
    """Return what stands open and what is folded, each with the groups of its gates."""
    ran = [row for row in shown if row["status"] != "NOT RUN"]
    passed = sum(row["status"] == "PASS" for row in ran)
    folds = {
        "": {row["status"] for row in shown} - {"PASS", "NOT RUN"},
        f"{passed} of {len(ran)} passed": {"PASS"},
        f"{len(shown) - len(ran)} not run": {"NOT RUN"},
    }
    found = []
    for summary, statuses in folds.items():
        parts = [
            {**group, "gates": [row for row in group["gates"] if row["status"] in statuses]}
            for group in groups
        ]
        parts = [part for part in parts if part["gates"]]
        if parts:
            found.append({"summary": summary, "groups": parts})
    return found


def _gate(gate: Node) -> dict[str, Any]:
    name, status = str(gate["name"].value), str(gate["status"].value)
    warns = status == "FAIL" and not gate["decides"].value
    shown = "WARNING" if warns else status
    group = "claim" if name in CLAIMS else "proof"
    if status == "NOT RUN" or not gate["decides"].value:
        group = "not run" if status == "NOT RUN" else "warns"
    return {
        "name": GATES.get(name, name),
        "code": gate["code"].show(str, ""),
        "measured": _measured(gate),
        "limit": _allowed(name, gate),
        "meter": _meter(gate),
        "status": shown,
        "icon": charts.icon(shown),
        "takes": _takes(gate),
        "group": group,
        "brief": status == "NOT RUN" or (status == "PASS" and gate["limit"].value == 0),
        "message": reason(str(gate["message"].value))[1],
    }


def _measured(gate: Node) -> str:
    measured, unit = gate["measured"], gate["unit"].value
    if measured.missing and measured.reason == gate["message"].value:
        return absent("not measured")
    if measured.missing or unit in COUNTED:
        return measured.show(words.COUNT)
    if unit in SMALL:
        return words.tiny(measured.value) + SMALL[unit]
    return words.apart(measured.value, gate["limit"].value or 0.0) + _after(unit)


def _allowed(name: str, gate: Node) -> str:
    limit, unit = gate["limit"], gate["unit"].value
    if limit.missing:
        return ""
    if limit.value == 0:
        return "none"
    return f"{ALLOWS.get(name, 'under')} {limit.value:g}{SMALL.get(unit, _after(unit))}"


def _after(unit: object) -> str:
    if unit == "x":
        return "×"
    return f"{words.SPACE}{unit}" if unit and unit not in COUNTED else ""


def _takes(gate: Node) -> str:
    """How many examples would decide, or how many a PASS takes at least."""
    needed, fewest = gate["examples_needed"], gate["fewest_examples"]
    if needed.value:
        return f"about {words.COUNT(rounded(needed.value))}"
    return f"{words.COUNT(fewest.value)} at least" if fewest.value else ""


def _meter(gate: Node) -> Markup | str:
    measured, limit = gate["measured"].value, gate["limit"].value
    if gate["measured"].missing or not limit or limit <= 0 or measured < 0:
        return ""
    scale = Scale(0, 1.25 * max(measured, limit))
    return charts.meter(scale, measured, limit)


def counted(gates: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    """Count the gates by how they went.

    >>> list(counted([{"status": "PASS"}, {"status": "PASS"}, {"status": "NOT RUN"}]))
    ['2 checks passed, 1 not run (see report.html)']
    """
    counts = Counter(gate["status"] for gate in gates)
    others = {"FAIL": "failed", "INCONCLUSIVE": "open", "NOT RUN": "not run"}
    told = [f"{counts[status]} {word}" for status, word in others.items() if counts[status]]
    yield ", ".join([f"{counts['PASS']} checks passed", *told]) + " (see report.html)"


LEDE = (
    "Everything that was held against a limit; the upright mark on a bar is the limit. A check "
    "passes only what is shown, not what is likely: the last column says how many examples that "
    "takes."
)
TEMPLATE = """
{% for fold in folds %}
{% if fold.summary %}
<details class="fold"><summary>{{ fold.summary }}</summary>
{% endif %}
<table class="gates reflow" role="table">
<thead role="rowgroup">
<tr role="row">
<th scope="col" role="columnheader">Check</th>
<th scope="col" role="columnheader">Result</th>
<th scope="col" role="columnheader" class="number">Measured</th>
<th scope="col" role="columnheader" class="number">Allowed</th>
<th scope="col" role="columnheader" class="bar"><span class="unseen">Share of the limit</span></th>
<th scope="col" role="columnheader" class="number">Examples it takes</th>
</tr>
</thead>
{% for group in fold.groups %}
<tbody role="rowgroup" class="head">
<tr role="row"><th scope="rowgroup" role="rowheader" colspan="6">{{ group.head }}</th></tr>
</tbody>
{% for gate in group.gates %}
<tbody role="rowgroup"{% if gate.brief %} class="brief"{% endif %}>
<tr role="row">
<th scope="row" role="rowheader">{{ gate.name }}
{%- if gate.code %} <small>{{ gate.code }}</small>{% endif %}</th>
<td role="cell" class="status {{ gate.status|lower|replace(" ", "-") }}">{{ gate.icon -}}
<span>{{ gate.status }}</span></td>
{% if gate.brief %}
<td role="cell" colspan="4" class="why">{{ gate.message }}</td>
</tr>
{% else %}
<td role="cell" class="number" data-name="Measured">{{ gate.measured }}</td>
<td role="cell" class="number"{% if gate.limit %} data-name="Allowed"{% endif %}>
{{- gate.limit }}</td>
<td role="cell" class="bar">{{ gate.meter }}</td>
<td role="cell" class="number takes"{% if gate.takes %} data-name="Examples it takes"{% endif %}>
{{- gate.takes }}</td>
</tr>
<tr role="row" class="message">
<td role="cell" colspan="6">{{ gate.message }}</td>
</tr>
{% endif %}
</tbody>
{% endfor %}
{% endfor %}
</table>
{% if fold.summary %}
</details>
{% endif %}
{% endfor %}
"""
SECTION = Section("budget", 10, "Checks", LEDE, "gates", gates, TEMPLATE, lines=counted, line=78)
