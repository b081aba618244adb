"""Accuracy as a whole and by group, recall by class, and which are taken for which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.page import tile, told
from edgetransfer.report.section import Figure, Section

if TYPE_CHECKING:
    from edgetransfer.report.node import Form, Node

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
    least = min(min(r["recall_reference"].value, r["recall_candidate"].value) for r in seen)
    scale = Scale(min(0.9, int(10 * least - 1e-9) / 10), 1)
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


def lowest(report: Mapping[str, Any]) -> Iterable[Figure]:
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


CLASSES_TEMPLATE = """
{{ legend("point") }}
{{ table(
    ("Class", "n:number:n", (axis, "plot", ""), "Float:number quiet:float",
     "Shipped:number quiet:candidate", "Change:number"),
    shown, caption, "plotted reflow") }}
{% if empty %}
<p class="caption">Not shown, {{ empty_reason }}: {{ empty|join(", ") }}.</p>
{% endif %}
<p class="caption">“More than chance”: McNemar's exact test within the class, p under 0.05 after
Holm's correction over the classes.</p>
{% if rest %}
<details><summary>All {{ total }} as a table</summary>
{{ table(
    ("Class", "n:number:n", "Float:number:float", "Shipped:number:shipped",
     "Change:number:change", "p:number:p"),
    rest, kind="listed reflow", label="Recall of all classes") }}
</details>
{% endif %}
"""
CLASSES = Section(
    "classes",
    30,
    "Classes",
    "Recall of each class before and after, the one that lost most first.",
    rows=classes,
    template=CLASSES_TEMPLATE,
    figures=lowest,
    asks="cost",
)


FULL_TABLE = 12
"""Classes up to which the whole table is shown."""
LISTED = 12
Cells = dict[tuple[int, int], int]
REACH = 3
"""How many times as far as the whole data set's interval the axis of the groups may go."""


def accuracy(report: Node) -> dict[str, Any]:
    """The comparison as a whole and by group; only a reason where there are no labels."""
    whole = report["accuracy"]
    if whole["candidate"].missing:
        return {"reason": words.sentence(whole["candidate"].reason)}
    limit = report["budget"]["max_drop_pp"].value
    rows = [("", "All examples", whole)]
    rows += [(str(g["column"].value), str(g["value"].value), g) for g in report["groups"].rows()]
    scale = _change_scale([row for _, _, row in rows], limit)
    metric = words.METRICS.get(whole["metric"].value, "Accuracy")
    interval = [] if whole["reference_ci95"].missing else ["95 % interval"]
    return {
        "reason": "",
        "caption": f"{metric} on {words.plural(whole['n'].value, 'labelled example')}",
        "columns": [
            "Model",
            *(f"{head}:number" for head in (metric, *interval, "Only this model right")),
        ],
        "both": [_own(whole, side, bool(interval)) for side in ("reference", "candidate")],
        "no_interval": "" if interval else whole["reference_ci95"].reason,
        "axis": charts.axis(scale, words.CHANGE, "change from float, pp"),
        "changes": [
            row
            for column, held in groupby(rows, key=itemgetter(0))
            for row in _changes(scale, limit, column, held)
        ],
        "limit": None if limit is None else f"{limit:g}{words.SPACE}pp",
        "grouped": len(rows) > 1,
        "method": whole["method"].show(),
        "p": whole["mcnemar_p"].show(words.p_value),
        "confusion": confusion(report),
    }


def _own(whole: Node, side: str, interval: bool) -> list[str]:
    ends = [whole[f"{side}_ci95"].show(words.PERCENT.between)] if interval else []
    alone = whole[f"{side}_only"].show(words.COUNT)
    name = "Float" if side == "reference" else "Shipped"
    return [name, whole[side].show(words.PERCENT), *ends, alone]


def _change_scale(rows: list[Node], limit: float | None) -> Scale:
    """Holds every estimate; of the groups' intervals, which can be very wide, what is near."""
    held = [*(rows[0]["ci95_pp"].value or ()), -(limit or 0.0), 0.0]
    reach = REACH * max(map(abs, held))
    ends = [end for row in rows[1:] for end in row["ci95_pp"].value or ()]
    held += [min(max(end, -reach), reach) for end in ends]
    held += [row["delta_pp"].value or 0.0 for row in rows]
    room = 0.1 * max(max(held) - min(held), 0.1)
    return Scale(min(held) - room, max(held) + room)


def _changes(
    scale: Scale, limit: float | None, column: str, held: Iterable[tuple[str, str, Node]]
) -> Iterable[dict[str, Any]]:
    """Yield the rows of one column of groups below its name, or the one of all examples."""
    if column:
        yield {"kind": "group", "cells": [words.by(column)]}
    for _, label, row in held:
        cells = _change_row(scale, limit, label, row)
        yield {"kind": "" if column else "whole", "cells": cells}


def _change_row(scale: Scale, limit: float | None, label: str, row: Node) -> list[str]:
    lines = [charts.line("zero", scale.at(0))]
    if limit is not None:
        lines.append(charts.line("limit", scale.at(-limit)))
    change, ends = row["delta_pp"], row["ci95_pp"]
    title = label if ends.missing else f"{label}: {words.CHANGE.between(ends.value)}"
    return [
        words.label(label),
        row["n"].show(words.COUNT),
        charts.whisker(scale, change.value, ends.value, lines, title),
        change.show(words.CHANGE),
        ends.show(words.CHANGE.between),
    ]


def confusion(report: Node) -> dict[str, Any] | None:
    """The candidate's confusions and how they differ from the float model's; None unlabelled."""
    before, after = (
        {(row, column): count for row, column, count in report["confusion"][side].value or ()}
        for side in ("reference", "candidate")
    )
    if not before and not after:
        return None
    labels = [str(label) for label in report["labels"].value or ()]
    if len(labels) <= FULL_TABLE:
        return {"matrix": _matrix(labels, before, after, report["per_class"].rows())}
    wrong = sorted({cell for cell in (*before, *after) if cell[0] != cell[1]})
    often = sorted(wrong, key=lambda cell: -after.get(cell, 0))
    grown = sorted(wrong, key=lambda cell: before.get(cell, 0) - after.get(cell, 0))
    grown = [cell for cell in grown if after.get(cell, 0) > before.get(cell, 0)]
    lists = {"Most frequent": [c for c in often if after.get(c)], "Most grown from float": grown}
    return {
        "matrix": None,
        "lists": {
            title: [_row(labels, cell, before, after) for cell in cells[:LISTED]]
            for title, cells in lists.items()
        },
        "kinds": words.plural(len([c for c in wrong if after.get(c)]), "kind"),
        "errors": words.plural(sum(after.get(c, 0) for c in wrong), "confusion"),
        "classes": words.plural(len(labels), "class"),
    }


def _row(labels: list[str], cell: tuple[int, int], before: Cells, after: Cells) -> list[Any]:
    old, new = before.get(cell, 0), after.get(cell, 0)
    return [
        words.label(labels[cell[0]], labels[cell[1]]),
        f"{old:,}",
        f"{new:,}",
        (words.number(new - old, 0, signed=True), words.way(old - new), ""),
    ]


def _matrix(labels: list[str], before: Cells, after: Cells, rows: list[Node]) -> dict[str, Any]:
    """The table of the candidate with its difference from the float model in every cell."""
    size = range(len(labels))
    totals = [int(row["n"].value or 0) for row in rows]
    decided = [[sum(side.get((i, j), 0) for j in size) for side in (before, after)] for i in size]
    undecided = any(total > min(sums) for total, sums in zip(totals, decided, strict=True))
    table: list[dict[str, Any]] = []
    for i in size:
        cells = [_cell(i, j, before, after, totals[i]) for j in size]
        if undecided:
            none = [totals[i] - count for count in decided[i]]
            cells.append(_cell(i, -1, {(i, -1): none[0]}, {(i, -1): none[1]}, totals[i]))
        table.append({"label": words.name(labels[i]), "full": labels[i], "cells": cells})
    heads = [words.name(label) for label in labels] + (["no decision"] if undecided else [])
    return {
        "heads": heads,
        "rows": table,
        "upright": max(map(len, labels)) > 4 or undecided,
        "changed": any(cell["change"] for row in table for cell in row["cells"]),
    }


def _cell(i: int, j: int, before: Cells, after: Cells, total: int) -> dict[str, Any]:
    old, new = before.get((i, j), 0), after.get((i, j), 0)
    better = "gain" if (new > old) == (i == j) else "loss"
    return {
        "count": new,
        "share": round(new / total, 3) if total else 0,
        "right": i == j,
        "change": words.number(new - old, 0, signed=True) if new != old else "",
        "way": "none" if new == old else better,
    }


def figures(report: Mapping[str, Any]) -> Iterable[Figure]:
    """Yield accuracy of both and the difference, where there are labels."""
    found = report["accuracy"]
    if found["n"] is not None and found["reference"] is not None:
        low, high = found["ci95_pp"]
        yield (
            f"{found['metric']} (n = {found['n']})",
            f"{found['reference']:.3f}",
            f"{found['candidate']:.3f}",
            f"{found['delta_pp']:+.2f} pp [{low:+.2f}, {high:+.2f}]",
        )


CONFUSION = """
{% if confusion.matrix %}
{% set matrix = confusion.matrix %}
<h3>Confusion</h3>
{% call scroller("Confusion table") %}
<table class="confusion{% if matrix.upright %} upright{% endif %}">
<caption class="unseen">Decisions of the shipped model</caption>
<thead>
<tr><td></td><th scope="colgroup" colspan="{{ matrix.heads|length }}" class="over">decided</th></tr>
<tr><th scope="col" class="corner">label</th>
{% for head in matrix.heads %}
<th scope="col" class="head"><span>{{ head }}</span></th>
{% endfor %}
</tr>
</thead>
<tbody>
{% for row in matrix.rows %}
<tr><th scope="row" title="{{ row.full }}"><span class="label">{{ row.label }}</span></th>
{% for cell in row.cells %}
<td class="{{ "right" if cell.right else "wrong" }}
{%- if not cell.count and not cell.change %} zero{% endif %}" style="--share:{{ cell.share }}">
{{- cell.count }}
{%- if cell.change %}<small class="{{ cell.way }}">{{ cell.change }}</small>{% endif %}</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
{% endcall %}
<p class="caption">Decisions of the shipped model by label; the stronger the colour, the larger the
share of the row.
{% if matrix.changed %}Small figures are the change from float.
{%- else %}The float model has the same counts.{% endif %}</p>
{% else %}
<h3>Confusions</h3>
<p>{{ confusion.errors }} of {{ confusion.kinds }} among {{ confusion.classes }}.</p>
<div class="side-by-side">
{% for title, rows in confusion.lists.items() if rows %}
{{ table(("Label → decision", "Float:number", "Shipped:number", "Change:number"),
         rows, title, "confusions") }}
{% endfor %}
</div>
{% endif %}
"""
ACCURACY_TEMPLATE = (
    """
{% if reason %}
<p class="absent">Not judged. {{ reason }}</p>
{% else %}
{{ table(columns, both, caption, label="Accuracy of both models") }}
{% if no_interval %}
<p class="caption">Neither has an interval of its own: {{ no_interval }}.</p>
{% endif %}
{{ table(
    ("Examples", "n:number:n", (axis, "plot", ""), "Change:number",
     "95 % interval:number quiet:95 %"),
    changes, "Change from float" ~ (", all examples and by group" if grouped else ""),
    "plotted reflow") }}
<p class="caption">
{%- if limit %}The dashed line is the loss that the budget allows, {{ limit }}.{% endif %}
{% if grouped %} Intervals are not corrected for the number of groups; an arrow is an end off the
axis.{% endif %} Method: {{ method }}. Exact McNemar p that neither model is better: {{ p }}.</p>
{% if confusion %}
"""
    + CONFUSION
    + """
{% endif %}
{% endif %}
"""
)
ACCURACY = Section(
    "accuracy",
    20,
    "Accuracy",
    "Both models judged the same examples, so the difference is a paired one.",
    rows=accuracy,
    template=ACCURACY_TEMPLATE,
    figures=figures,
    asks="cost",
)


def merit(report: Mapping[str, Any]) -> Iterable[str]:
    """Say how good the shipped model is, and whether it beats the rivals that know nothing."""
    found = report["accuracy"]
    if found["candidate"] is None or found["n"] is None:
        return
    ends = found.get("candidate_ci95")
    between = f", 95 % interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f} %" if ends else ""
    share = f"{100 * found['candidate']:.1f} %"
    if found["metric"] == "top1":
        yield f"{share} of {found['n']} test examples are right{between}"
    else:
        yield f"{found['metric']} {share} on {found['n']} test examples{between}"
    for gate in report["gates"]:
        if gate["name"] == "chance" and gate["status"] != "NOT RUN":
            yield gate["message"].partition("; ")[2]


MERIT = Section("merit", 15, lines=merit, asks="merit")


def to_gain(report: Mapping[str, Any]) -> Iterable[str]:
    """Name the class that more labels would help most, where one lags behind."""
    classes = [row for row in report["per_class"] or () if row["recall_candidate"] is not None]
    whole = (report["accuracy"] or {}).get("candidate")
    worst = min(classes, key=lambda row: row["recall_candidate"], default=None)
    if worst and whole is not None and worst["recall_candidate"] < whole - LAGS:
        share = f"{100 * worst['recall_candidate']:.0f} % of its {worst['n']} test examples"
        yield f"more labels of {worst['label']!r}: {share} are found"


LAGS = 0.05
"""How far the recall of a class has to be below the metric to be told."""
TO_GAIN = Section("to gain", 15, lines=to_gain, asks="next")
ALLOWED = words.Quantity(f"{words.SPACE}pp")


def tiles(report: Node) -> list[dict[str, Any]]:
    """Return the metric, and its change from the floats, each with what to read it against."""
    accuracy = report["accuracy"]
    return [
        tile(
            words.METRICS.get(accuracy["metric"].value, "Accuracy"),
            accuracy["candidate"].show(words.PERCENT),
            told("float {}", accuracy["reference"], words.PERCENT),
            told("95 % interval {}", accuracy["candidate_ci95"], words.PERCENT.between),
        ),
        tile(
            "Change from float",
            accuracy["delta_pp"].show(words.CHANGE),
            told("95 % bound of the loss {}", accuracy["drop_ucb95_pp"], _loss(report)),
            told("allowed {}", report["budget"]["max_drop_pp"], ALLOWED),
        ),
    ]


def _loss(report: Node) -> Form:
    limit = report["budget"]["max_drop_pp"].value or 0.0
    return lambda loss: f"{words.apart(loss, limit)}{words.SPACE}pp"
