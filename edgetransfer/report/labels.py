"""Puts labels that look wrong, examples that nearly repeat, and the learning curve into rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.measure.study.labels import told
from edgetransfer.report import charts, words
from edgetransfer.report.charts import Scale

if TYPE_CHECKING:
    from edgetransfer.report.node import Node


_ENDS = (("example", "split", "label"), ("other", "other_split", "other_label"))


def labelling(report: Node) -> dict[str, Any] | None:
    """Return what was found; None in a report that was made before this was asked."""
    block = report["labelling"]
    if block.missing:
        return None
    suspects = block["suspects"].rows()
    return {
        "told": [words.sentence(line) for line in told(block.value)],
        "rest": block["suspect"].value - len(suspects),
        "suspects": [
            {
                **{key: str(row[key].value) for key in ("example", "given", "likely")},
                "chances": " against ".join(
                    words.PERCENT(row[f"{key}_probability"].value) for key in ("likely", "given")
                ),
            }
            for row in suspects
        ],
        "near": _near(block["near_duplicates"]),
        **({"rows": []} if block["curve"].missing else _curve(block["curve"])),
    }


def _near(block: Node) -> dict[str, Any] | None:
    if block.missing or not block["pairs"].value:
        return None
    listed = block["listed"].rows()
    return {
        "rest": block["pairs"].value - len(listed),
        "rows": [
            [
                f"{row[name].value} ({row[split].value}, {row[label].value})"
                for name, split, label in _ENDS
            ]
            for row in listed
        ],
    }


def _curve(curve: Node) -> dict[str, Any]:
    """What was measured, then what is expected: the last error less each gain."""
    errors, last = curve["error"].value, curve["error"].value[-1]
    known = [(size, error, None) for size, error in zip(curve["sizes"].value, errors, strict=True)]
    expected = [
        (
            row["examples"].value,
            max(last - row["gain_pp"].value / 100, 0.0),
            [max(last - end / 100, 0.0) for end in reversed(row["ci95_pp"].value)],
        )
        for row in curve["gains"].rows()
    ]
    scale = Scale(0.0, 1.05 * max([*errors, *(ends[1] for _, _, ends in expected), 0.01]))
    return {
        "axis": charts.axis(scale, words.PERCENT, "share decided wrongly, %"),
        "rows": [
            {
                "examples": words.COUNT(size),
                "error": words.PERCENT(error),
                "note": "" if ends is None else f"expected: {words.PERCENT.between(ends)}",
                "plot": charts.whisker(scale, error, ends, [], words.PERCENT(error)),
            }
            for size, error, ends in [*known, *expected]
        ],
    }
