"""Says which ways of storing the network were tried, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.report import words

if TYPE_CHECKING:
    from edgetransfer.report.node import Form, Node

HEADS = ("Rung", "Status", "Accuracy", "Flips", "SQNR", "p90", "Speed", "Size", "Made in", "Why")
DETAILS = {
    "float_layers": "in 32-bit floats",
    "float_nodes": "in 32-bit floats for their range",
    "noisiest_layers": "most of the noise comes from",
}


@dataclass(frozen=True)
class LadderRow:
    """One rung, as its cells under `HEADS`."""

    cells: tuple[str, ...]
    shipped: bool


def ladder(report: Node) -> list[LadderRow]:
    """Return the rungs in the order they were tried."""
    return [_row(rung) for rung in report["ladder"].rows()]


def _row(rung: Node) -> LadderRow:
    shipped = rung["shipped"].value is True
    name = str(rung["rung"].value) + (" (shipped)" if shipped else "")
    cells = (
        name,
        _or_dash(rung["status"], str),
        _accuracy(rung),
        _flips(rung),
        _or_dash(rung["sqnr_db"], words.DB),
        _or_dash(rung["p90_ms"], words.MS),
        _or_dash(rung["cpu_ratio"], words.TIMES),
        _or_dash(rung["bytes"], words.file_size),
        _or_dash(rung["seconds"], words.Quantity(f"{words.SPACE}s", 1)),
        _why(rung),
    )
    return LadderRow(cells, shipped)


def _or_dash(node: Node, form: Form) -> str:
    """Write a value; a dash stands for what was not measured of this rung."""
    return "–" if node.missing else form(node.value)


def _accuracy(rung: Node) -> str:
    if rung["accuracy"].missing:
        return "–"
    text = words.PERCENT(rung["accuracy"].value)
    ends = rung["accuracy_ci95"].value
    return f"{text} ({words.PERCENT.between(ends)})" if ends else text


def _flips(rung: Node) -> str:
    if rung["flips"].missing:
        return "–"
    return f"{rung['flips'].value} of {rung['examples'].value}"


def _why(rung: Node) -> str:
    parts = [] if rung["why"].missing else [str(rung["why"].value)]
    if rung["slower"].value:
        parts.append("slower than floats on this target")
    if not rung["numbers_by"].missing:
        parts.append(f"numbers by {rung['numbers_by'].value}")
    for key, text in DETAILS.items():
        names = [str(each.value) for each in rung[key].rows()]
        if names:
            parts.append(f"{text}: {', '.join(names)}")
    return words.sentence("; ".join(parts)) if parts else ""
