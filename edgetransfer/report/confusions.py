"""Shows which classes are taken for which: a full table of a few classes, a list of many.

It does not count; the report holds the cells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import words

if TYPE_CHECKING:
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
