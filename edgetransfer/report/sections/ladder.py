"""Which ways of storing the network were tried, and what came of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.report import words
from edgetransfer.report.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgetransfer.report.node import Node

ABSENT = "–"
"""What was not measured of a rung."""
CALLED = {"litert": "LiteRT"}
DETAILS = {
    "float_layers": "in 32-bit floats",
    "float_nodes": "in 32-bit floats for their range",
    "noisiest_layers": "most of the noise comes from",
}


def ladder(rungs: Node) -> dict[str, Any]:
    """Return the rungs in the order they were tried, each with its reason below it."""
    shown = ((_cells(rung), [_why(rung)], *_elsewhere(rung)) for rung in rungs.rows())
    rows = [row for rung in shown for row in map(list, rung) if any(row)]
    return {"rows": rows} if rows else {}


def _cells(rung: Node) -> Iterable[str]:
    yield str(rung["rung"].value) + (" (shipped)" if rung["shipped"].value is True else "")
    yield rung["status"].show(str, ABSENT)
    yield from _numbers(rung)
    yield rung["p90_ms"].show(words.MS, ABSENT)
    yield rung["cpu_ratio"].show(words.TIMES, ABSENT)
    yield rung["bytes"].show(words.file_size, ABSENT)
    yield rung["seconds"].show(words.SECONDS, ABSENT)


def _numbers(row: Node) -> Iterable[str]:
    ends = row["accuracy_ci95"].show(lambda ends: f" ({words.PERCENT.between(ends)})", "")
    yield row["accuracy"].show(lambda value: words.PERCENT(value) + ends, ABSENT)
    yield row["flips"].show(lambda flips: f"{flips} of {row['examples'].value}", ABSENT)
    yield row["sqnr_db"].show(words.DB, ABSENT)


def _elsewhere(rung: Node) -> Iterable[Sequence[str]]:
    """Return a row for each runtime but the target's own: the same file, timed in the same run."""
    own = rung["cpu_ratio"]
    for name, row in [*rung["runtimes"].items()][1:]:
        ratio = ABSENT
        if not own.missing and not row["cpu_ratio"].missing:
            ratio = words.TIMES(own.value * row["cpu_ratio"].value)
        yield f"the same in {name}", ABSENT, *_numbers(row), ABSENT, ratio, ABSENT, ABSENT


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


def told(rungs: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Say which rung is shipped, and why not a smaller one."""
    own = [rung for rung in rungs if "runtime" not in rung]
    for rung in own:
        if not rung["shipped"]:
            continue
        tried = f", the best of {len(own)} tried" if len(own) > 1 else ""
        yield f"shipped: {rung['rung']}{tried}"
        if "to download" in rung.get("why", ""):
            yield rung["why"].rpartition("; ")[2]
        if rung.get("noisiest_layers"):
            yield f"most of the noise comes from: {', '.join(rung['noisiest_layers'])}"
    for rung in rungs:
        if rung.get("status") == "left out":
            yield f"left out: {rung['rung']}: {rung['why']}"
    slower = [rung for rung in rungs if not rung["shipped"] and rung.get("slower")]
    if slower and any(rung["shipped"] and rung["precision"] == "fp32" for rung in rungs):
        ratio = max(rung["cpu_ratio"] for rung in slower)
        yield f"8-bit integers are slower than floats here ({ratio:.2f} x): floats are shipped"


def formats(block: Node) -> dict[str, Any]:
    """Return a row for each other runtime that the network was written for."""
    named = ((str(row["runtime"].value), row) for row in block.rows())
    return {"rows": [[CALLED.get(name, name), *_numbers(row)] for name, row in named]}


def told_formats(block: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Say what the network is worth in each other runtime."""
    for row in block:
        name = CALLED.get(row["runtime"], row["runtime"])
        noise = "" if row["sqnr_db"] is None else f", {row['sqnr_db']:.1f} dB SQNR"
        yield f"{name}: {row['flips']} of {row['examples']} decisions changed{noise}"


FORMATS = Section(
    "formats",
    112,
    "For other runtimes",
    "The network as it was written for another runtime, on the examples of this report, run by "
    "that runtime; its time is in the table above. It decides nothing.",
    "formats",
    formats,
    """
{{ table(
    ("Runtime", "Accuracy:number:accuracy", "Changed:number:changed", "SQNR:number:SQNR"),
    rows, kind="ladder reflow", label="For other runtimes") }}
""",
    lines=told_formats,
    asks="cost",
)
SECTION = Section(
    "ladder",
    110,
    "Compression candidates",
    "The ways of compressing the network that were tried, in order, on examples that are not the "
    "test set. Accuracy with its 95 % interval; speed as CPU time against the float network.",
    "ladder",
    ladder,
    """
{{ table(
    ("Candidate", "Status::status", "Accuracy:number:accuracy", "Changed:number:changed",
     "SQNR:number:SQNR", "p90:number:p90", "Speed:number:speed", "Size:number:size",
     "Made in:number:made in"),
    rows, kind="ladder reflow", label="Compression candidates") }}
""",
    lines=told,
    line=70,
    asks="cost",
)
