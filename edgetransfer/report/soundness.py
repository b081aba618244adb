"""Puts the question whether this transfer is sound into rows: before fitting, and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale

if TYPE_CHECKING:
    from edgetransfer.report.node import Node

FINDINGS = {
    "better": "better",
    "worse": "worse: negative transfer",
    "undecided": "not shown to be better",
}


def soundness(report: Node) -> dict[str, Any] | None:
    """Return what was found; None in a report that was made before this was asked."""
    block = report["soundness"]
    if block.missing:
        return None
    rows = block["comparisons"].rows()
    return {
        "reason": "" if block["tested"].value else words.sentence(str(block["reason"].value)),
        "before": _before(block),
        "warnings": [words.sentence(str(row["message"].value)) for row in block["warnings"].rows()],
        **(_compared(rows) if rows else {"rows": [], "axis": "", "n": ""}),
    }


def _before(block: Node) -> list[tuple[str, str]]:
    """What was seen before fitting."""
    near, source = block["neighbours"], block["source"]
    found = []
    if not near.missing:
        right, chance = (words.PERCENT(near[key].value) for key in ("accuracy", "chance"))
        value = f"{right}; by chance {chance} (p {words.p_value(near['p'].value)})"
        found.append((f"Right by their {near['k'].value} nearest neighbours", value))
    if not source.missing:
        far = words.PERCENT(source["far"].value)
        found += [
            ("Distance from the source", f"{source['median'].value:.2f} × its own examples'"),
            ("Further than 99 % of the source's own", far),
        ]
    unseen = block["unseen"]
    if not unseen.missing:
        apart, mixed = (words.PERCENT(unseen[key].value) for key in ("apart", "mixed"))
        between = unseen["ci95_pp"].show(words.CHANGE.between)
        value = f"{apart} right instead of {mixed}, a cost of {unseen['cost_pp'].value:.1f} pp"
        name = f"A {unseen['column'].value} that nothing was fitted on"
        found.append((name, f"{value} {between}, over {unseen['groups'].value} of them"))
    return found


def _compared(rows: list[Node]) -> dict[str, Any]:
    ends = [end for row in rows for end in row["ci95_pp"].value]
    room = 0.05 * max(max(ends) - min(ends), 1.0)
    scale = Scale(min(0.0, *ends) - room, max(0.0, *ends) + room)
    zero = charts.line("zero", scale.at(0))
    return {
        "axis": charts.axis(scale, words.CHANGE, "difference from the rival, pp"),
        "n": ", ".join(dict.fromkeys(_examples(row) for row in rows)),
        "rows": [
            {
                "subject": words.name(row["subject"].value),
                "rival": words.name(row["rival"].value),
                "subject_score": row["subject_score"].show(words.PERCENT),
                "rival_score": row["rival_score"].show(words.PERCENT),
                "change": row["delta_pp"].show(words.CHANGE),
                "between": row["ci95_pp"].show(words.CHANGE.between),
                "finding": FINDINGS.get(row["finding"].value, ""),
                "plot": charts.whisker(
                    scale,
                    row["delta_pp"].value,
                    row["ci95_pp"].value,
                    [zero],
                    f"{row['rival'].value}: {words.CHANGE.between(row['ci95_pp'].value)}",
                ),
            }
            for row in rows
        ],
    }


def _examples(row: Node) -> str:
    return f"{row['n'].value:,} {row['examples'].value} ({row['subject'].value})"
