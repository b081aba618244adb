"""Recall of every class before and after, the one that lost most first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.report.node import Node
    from edgetransfer.report.section import Figure

SHOWN_CLASSES = 24
"""Classes drawn; the others are in the full table."""
SHORT = 18
"""Characters of a name in the terminal's table."""


def classes(report: Node) -> dict[str, Any] | None:
    """Recall of every class, the worst first; None where there are no labels."""
    rows = report["per_class"].rows()
    seen = [row for row in rows if not row["recall_candidate"].missing]
    if not seen:
        return None
    seen.sort(key=_badness)
    lowest = min(min(r["recall_reference"].value, r["recall_candidate"].value) for r in seen)
    scale = Scale(min(0.9, int(10 * lowest - 1e-9) / 10), 1)
    empty = [row for row in rows if row["recall_candidate"].missing]
    total, most = words.plural(len(seen), "class"), len(seen) > SHOWN_CLASSES
    lost, gained = (sum(sign * row["change_pp"].value < 0 for row in seen) for sign in (1, -1))
    sure = sum(row["p_holm"].value < 0.05 for row in seen if not row["p_holm"].missing)
    caption = f"{lost} lost recall, {gained} gained; {sure} changed more than chance"
    return {
        "axis": charts.axis(scale, words.PERCENT, "recall, %"),
        "shown": [_drawn(row, scale) for row in seen[:SHOWN_CLASSES]],
        "total": total,
        "caption": f"The {SHOWN_CLASSES} worst of {total}: {caption}" if most else caption,
        "rest": [_listed(row) for row in seen] if most else [],
        "empty": [words.name(row["label"].value) for row in empty],
        "empty_reason": empty[0]["recall_candidate"].reason if empty else "",
    }


def _badness(row: Node) -> tuple[float, float, str]:
    return row["change_pp"].value, row["recall_candidate"].value, str(row["label"].value)


def _listed(row: Node) -> list[Any]:
    name, change = str(row["label"].value), row["change_pp"]
    return [
        (words.label(name), "", name),
        row["n"].show(words.COUNT),
        row["recall_reference"].show(words.PERCENT),
        row["recall_candidate"].show(words.PERCENT),
        (change.show(words.CHANGE), words.way(change.value), ""),
        row["p_holm"].show(words.p_value),
    ]


def _drawn(row: Node, scale: Scale) -> list[Any]:
    name, n, before, after, change, _ = _listed(row)
    ends = row["recall_reference"].value, row["recall_candidate"].value
    title = f"{row['label'].value}: {words.PERCENT(ends[0])} to {words.PERCENT(ends[1])}"
    return [name, n, charts.dumbbell(scale, *ends, title), before, after, change]


def figures(report: Mapping[str, Any]) -> Iterable[Figure]:
    """Yield the class with the lowest recall, and the group with the lowest metric."""
    classes = [row for row in report["per_class"] if row["recall_candidate"] is not None]
    if classes:
        worst = min(classes, key=lambda row: row["recall_candidate"])
        both = worst["recall_reference"], worst["recall_candidate"]
        yield _lowest("class", worst["label"], worst["n"], both, worst["change_pp"])
    groups = [row for row in report["groups"] if row["candidate"] is not None]
    if groups:
        worst = min(groups, key=lambda row: row["candidate"])
        both = worst["reference"], worst["candidate"]
        yield _lowest(worst["column"], worst["value"], worst["n"], both, worst["delta_pp"])


def _lowest(
    what: str, name: str, count: int, both: tuple[float, float], change_pp: float
) -> Figure:
    short = name if len(name) <= SHORT else name[: SHORT - 1] + "…"
    title = f"lowest {what}: {short} (n = {count})"
    return title, f"{both[0]:.3f}", f"{both[1]:.3f}", f"{change_pp:+.2f} pp"


TEMPLATE = """
{{ legend("point") }}
{{ table(
    ("Class", "n:number:n", (axis, "plot", ""), "Float:number quiet:float",
     "Candidate:number quiet:candidate", "Change:number"),
    shown, caption, "plotted reflow") }}
{% if empty %}
<p class="caption">Not shown, {{ empty_reason }}: {{ empty|join(", ") }}.</p>
{% endif %}
<p class="caption">“More than chance”: McNemar's exact test within the class, p under 0.05 after
Holm's correction over the classes.</p>
{% if rest %}
<details><summary>All {{ total }} as a table</summary>
{{ table(
    ("Class", "n:number", "Float:number", "Candidate:number", "Change:number", "p:number"),
    rest, label="Recall of all classes") }}
</details>
{% endif %}
"""
SECTION = Section(
    "classes",
    30,
    "Classes",
    "Recall of each class before and after, the one that lost most first.",
    rows=classes,
    template=TEMPLATE,
    figures=figures,
)
