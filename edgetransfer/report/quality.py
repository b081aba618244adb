"""Puts decisions and logits into tables and plots: accuracy, groups, classes, drift.

Shows which classes are taken for which: a full table of a few classes, a list of many.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale
from edgetransfer.report.verdict import METRICS

if TYPE_CHECKING:
    from markupsafe import Markup

    from edgetransfer.report.node import Node

FULL_TABLE = 12
"""Classes up to which the whole table is shown."""
LISTED = 12
Cells = dict[tuple[int, int], int]


def confusion(report: Node) -> dict[str, Any] | None:
    """The candidate's confusions and how they differ from the float model's; None unlabelled."""
    before, after = (_cells(report["confusion"][side]) for side in ("reference", "candidate"))
    if not before and not after:
        return None
    labels = [str(label) for label in report["labels"].value or ()]
    if len(labels) <= FULL_TABLE:
        return {"matrix": _matrix(labels, before, after, report["per_class"].rows())}
    wrong = sorted({cell for cell in (*before, *after) if cell[0] != cell[1]})
    often = sorted(wrong, key=lambda cell: -after.get(cell, 0))
    grown = sorted(wrong, key=lambda cell: before.get(cell, 0) - after.get(cell, 0))
    return {
        "often": [_row(labels, c, before, after) for c in often[:LISTED] if after.get(c)],
        "grown": [
            _row(labels, c, before, after)
            for c in grown[:LISTED]
            if after.get(c, 0) > before.get(c, 0)
        ],
        "kinds": words.plural(len([c for c in wrong if after.get(c)]), "kind"),
        "errors": words.plural(sum(after.get(c, 0) for c in wrong), "confusion"),
        "classes": words.plural(len(labels), "class"),
    }


def _cells(node: Node) -> Cells:
    return {(row, column): count for row, column, count in node.value or ()}


def _row(labels: list[str], cell: tuple[int, int], before: Cells, after: Cells) -> dict[str, Any]:
    old, new = before.get(cell, 0), after.get(cell, 0)
    return {
        "truth": words.name(labels[cell[0]]),
        "decided": words.name(labels[cell[1]]),
        "reference": f"{old:,}",
        "candidate": f"{new:,}",
        "change": words.number(new - old, 0, signed=True),
        "way": "loss" if new > old else "gain" if new < old else "none",
    }


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


REACH = 3
"""How many times as far as the whole data set's interval the axis of the groups may go."""
SHOWN_CLASSES = 24
"""Classes drawn; the others are in the full table."""


def accuracy(report: Node) -> dict[str, Any]:
    """The comparison as a whole and by group; only a reason where there are no labels."""
    whole = report["accuracy"]
    if whole["candidate"].missing:
        return {"reason": words.sentence(whole["candidate"].reason)}
    limit = report["budget"]["max_drop_pp"].value
    rows = [("", "All examples", whole)]
    rows += [(str(g["column"].value), str(g["value"].value), g) for g in report["groups"].rows()]
    scale = _change_scale([row for _, _, row in rows], limit)
    return {
        "metric": METRICS.get(whole["metric"].value, "Accuracy"),
        "n": words.plural(whole["n"].value, "labelled example"),
        "reference": whole["reference"].show(words.PERCENT),
        "candidate": whole["candidate"].show(words.PERCENT),
        "reference_ci": whole["reference_ci95"].show(words.PERCENT.between),
        "candidate_ci": whole["candidate_ci95"].show(words.PERCENT.between),
        "no_ci": whole["reference_ci95"].reason if whole["reference_ci95"].missing else "",
        "reference_only": whole["reference_only"].show(words.COUNT),
        "candidate_only": whole["candidate_only"].show(words.COUNT),
        "p": whole["mcnemar_p"].show(words.p_value),
        "method": whole["method"].show(),
        "limit": None if limit is None else f"{limit:g}{words.SPACE}pp",
        "axis": charts.axis(scale, words.CHANGE, "change from float, pp"),
        "columns": [
            (column, [_change_row(scale, limit, label, row) for _, label, row in held])
            for column, held in groupby(rows, key=itemgetter(0))
        ],
        "grouped": len(rows) > 1,
    }


def _change_scale(rows: list[Node], limit: float | None) -> Scale:
    """Holds every estimate; of the groups' intervals, which can be very wide, what is near."""
    held = [*(rows[0]["ci95_pp"].value or ()), -(limit or 0.0), 0.0]
    reach = REACH * max(map(abs, held))
    ends = [end for row in rows[1:] for end in row["ci95_pp"].value or ()]
    held += [min(max(end, -reach), reach) for end in ends]
    held += [row["delta_pp"].value or 0.0 for row in rows]
    room = 0.1 * max(max(held) - min(held), 0.1)
    return Scale(min(held) - room, max(held) + room)


def _change_row(scale: Scale, limit: float | None, label: str, row: Node) -> dict[str, Any]:
    lines = [charts.line("zero", scale.at(0))]
    if limit is not None:
        lines.append(charts.line("limit", scale.at(-limit)))
    change, ends = row["delta_pp"], row["ci95_pp"]
    title = label if ends.missing else f"{label}: {words.CHANGE.between(ends.value)}"
    return {
        "label": words.name(label),
        "n": row["n"].show(words.COUNT),
        "reference": row["reference"].show(words.PERCENT),
        "candidate": row["candidate"].show(words.PERCENT),
        "change": change.show(words.CHANGE),
        "between": ends.show(words.CHANGE.between),
        "plot": charts.whisker(scale, change.value, ends.value, lines, title),
    }


def classes(report: Node) -> dict[str, Any] | None:
    """Recall of every class, the worst first; None where there are no labels."""
    rows = report["per_class"].rows()
    seen = [row for row in rows if not row["recall_candidate"].missing]
    if not seen:
        return None
    seen.sort(key=_badness)
    lowest = min(min(r["recall_reference"].value, r["recall_candidate"].value) for r in seen)
    scale = Scale(min(0.9, int(10 * lowest - 1e-9) / 10), 1)
    shown = [_class_row(row, scale) for row in seen[:SHOWN_CLASSES]]
    empty = [row for row in rows if row["recall_candidate"].missing]
    return {
        "axis": charts.axis(scale, words.PERCENT, "recall, %"),
        "shown": shown,
        "total": words.plural(len(seen), "class"),
        "rest": [_class_row(row, None) for row in seen] if len(seen) > SHOWN_CLASSES else [],
        "empty": [words.name(row["label"].value) for row in empty],
        "empty_reason": empty[0]["recall_candidate"].reason if empty else "",
        "lost": sum(row["change_pp"].value < 0 for row in seen),
        "gained": sum(row["change_pp"].value > 0 for row in seen),
        "significant": sum(row["p_holm"].value < 0.05 for row in seen if not row["p_holm"].missing),
    }


def _badness(row: Node) -> tuple[float, float, str]:
    return row["change_pp"].value, row["recall_candidate"].value, str(row["label"].value)


def _class_row(row: Node, scale: Scale | None) -> dict[str, Any]:
    before, after = row["recall_reference"], row["recall_candidate"]
    title = f"{row['label'].value}: {words.PERCENT(before.value)} to {words.PERCENT(after.value)}"
    return {
        "label": words.name(row["label"].value),
        "full": str(row["label"].value),
        "n": row["n"].show(words.COUNT),
        "reference": before.show(words.PERCENT),
        "candidate": after.show(words.PERCENT),
        "change": row["change_pp"].show(words.CHANGE),
        "way": _way(row["change_pp"].value),
        "p": row["p_holm"].show(words.p_value),
        "plot": charts.dumbbell(scale, before.value, after.value, title) if scale else "",
    }


def _way(change: float) -> str:
    return "loss" if change < 0 else "gain" if change > 0 else "none"


def drift(report: Node) -> list[dict[str, str | Markup]]:
    """How far the candidate's outputs are from the float model's, with what each number means."""
    agreement, numeric = report["agreement"], report["numeric"]
    rate = agreement["rate"].show(words.PERCENT)
    rows = [
        (
            "Agreement",
            rate,
            "Share of the examples on which both models decide for the same class, right or wrong.",
        ),
        (
            "Flip rate, upper bound",
            agreement["flip_rate_ucb95"].show(words.PERCENT),
            "With 95 % confidence no more decisions than this change on new data like these.",
        ),
        (
            "SQNR",
            numeric["sqnr_db"].show(words.DB),
            "Signal to quantisation noise of the logits: every 20 dB is a factor of ten "
            "between the float model's signal and the error added to it. Higher is better.",
        ),
        (
            "KL divergence",
            numeric["kl_mean"].show(_nats),
            "Mean distance of the class probabilities from the float model's; "
            "0 where they are the same.",
        ),
        (
            "Cosine similarity",
            numeric["cosine_mean"].show(words.COSINE),
            "Mean alignment of the raw logits; 1 where they point the same way.",
        ),
    ]
    if numeric["non_finite"].value:
        broken = numeric["non_finite"].show(words.COUNT)
        rows.insert(0, ("NaN or Inf", broken, "Logits of the candidate that are not numbers."))
    return [{"name": n, "value": value, "meaning": meaning} for n, value, meaning in rows]


def _nats(value: float) -> str:
    return f"{words.tiny(value)}{words.SPACE}nats"
