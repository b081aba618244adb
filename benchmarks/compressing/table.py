"""Prints results as Markdown tables, from the JSON alone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HEAD = (
    "method", "top-1 %", "flips", "SQNR dB", "conv float/int8", "float ops", "CPU ms",
    "CPU x float", "CPU x ORT U8S8", "KiB", "made in CPU s",
)  # fmt: skip
NOTE = (
    "CPU x: median CPU time of the reference over that of the row, one thread, interleaved "
    "blocks, with a 95 % interval; above 1 is faster. OpenVINO rows were timed beside ONNX "
    "Runtime's in one process of their own environment, and CPU ms there is of that run. "
    "Float ops: convolutions and matrix products left in float."
)
_WIDEST_REASON = 300
_MODULES = re.compile(r"\b(?:\w+\.)+(?=[A-Z])")


def render(results: Mapping[str, Any]) -> str:
    """Return all tables of a run."""
    machine = results["environment"]
    flags = " ".join(machine["isa"])
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    parts = [
        f"{results['date']}, {machine['cpu']}, {machine['cores']} cores ({flags})",
        versions,
        NOTE,
    ]
    return "\n\n".join([*parts, *map(_case, results["cases"])])


def _case(case: Mapping[str, Any]) -> str:
    judged = f"n = {case['n']} test examples" if case["judged"] else "random weights"
    if fit := case.get("fit"):
        kept = (
            f"epoch {fit['kept']} of {fit['epochs']}" if fit["kept"] else "none: the probe's head"
        )
        judged += f", fine-tuned, kept {kept}"
    title = f"## {case['name']} ({judged}, {case['calibration']} calibration rows, {case['date']})"
    if "reason" in case:
        return f"{title}\n\nnot measured: {case['reason']}"
    rows = [_row(row) for row in case["rows"]]
    return "\n".join([title, "", *_grid([HEAD, *rows])])


def _row(row: Mapping[str, Any]) -> tuple[str, ...]:
    held = row["residency"]
    if held is None:
        reason = _MODULES.sub("", row["reason"])[:_WIDEST_REASON]
        return (row["method"], reason, *[""] * (len(HEAD) - 2))
    floats = held.get("float_ops")
    return (
        row["method"],
        _number(row["top1"], 1, 100),
        _number(row["flips"], 0),
        _number(row["sqnr_db"], 1),
        f"{held['float_conv']}/{held['int8_conv']}",
        "-" if floats is None else str(floats),
        _number(row["cpu_p50_ms"], 2),
        _ratio(row["cpu_vs_float"]),
        _ratio(row["cpu_vs_baseline"]),
        _number(row["bytes"], 0, 1 / 1024),
        _work(row),
    )


def _work(row: Mapping[str, Any]) -> str:
    if row["made_cpu_s"] is None and row["made_s"] is not None:
        return f"{row['made_s']:.1f} wall"
    return _number(row["made_cpu_s"], 1)


def _number(value: float | None, digits: int, scale: float = 1) -> str:
    return "-" if value is None else f"{value * scale:.{digits}f}"


def _ratio(told: Mapping[str, Any] | None) -> str:
    if told is None or told["ratio"] is None:
        return "-"
    bounds = told["ci95"]
    interval = f" [{bounds[0]:.2f}, {bounds[1]:.2f}]" if bounds else ""
    return f"{told['ratio']:.2f}{interval}"


def _grid(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows if row[2:3] != ("",)) for i in range(len(HEAD))]
    lines = []
    for number, row in enumerate(rows):
        cells = [
            f"{cell:<{width}}" if i == 0 or row[2] == "" else f"{cell:>{width}}"
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("| " + " | ".join(cells) + " |")
        if number == 0:
            marks = ["-" * width if i == 0 else "-" * (width - 1) + ":"
                     for i, width in enumerate(widths)]  # fmt: skip
            lines.append("| " + " | ".join(marks) + " |")
    return lines
