"""Prints a report: the verdict first, then the numbers behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.text import Text

from edgetransfer.bundle.files import write_whole, writing
from edgetransfer.cli.terminal import Console, table
from edgetransfer.measure.verdict import exit_code, is_sound, worst
from edgetransfer.report.sections import figures, lines
from edgetransfer.spec import tasks

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.store import Visit

_COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "UNVERIFIED": "yellow"}


def leave(reports: Iterable[Mapping[str, Any]], *, strict: bool) -> NoReturn:
    """End the program with the exit code of the worst verdict."""
    found = tuple(reports)
    name = worst(report["verdict"] for report in found)
    sys.exit(exit_code(name, strict=strict, sound=all(map(is_sound, found))))


def write(
    reports: Mapping[str, Mapping[str, Any]],
    markdown: Path | None,
    junit: Path | None,
    *,
    strict: bool,
) -> None:
    """Write the files that were asked for, of reports by target or place."""
    from edgetransfer.report import ci

    for file, text in ((markdown, ci.markdown), (junit, lambda r: ci.junit(r, strict=strict))):
        if file is not None:
            for report in reports.values():
                tasks.load(report.get("task", tasks.CLASSIFICATION))
            with writing(file.parent):
                file.parent.mkdir(parents=True, exist_ok=True)
                write_whole(file, text(reports).encode())


def notes(found: Sequence[str]) -> None:
    """Print what was noticed in the data."""
    if found:
        console = Console()
        console.print("\nData", style="bold")
        for note in found:
            console.indented(note)


def stages(visits: Iterable[Visit]) -> None:
    """Print the stages of a run in the order in which each was entered, once, with its key."""
    rows = [
        (name, "found" if kept.reused else f"{kept.cost.seconds:.2f} s", kept.key[:12])
        for name, kept in visits
    ]
    console = Console(sys.stderr)
    console.print("\nStages", style="bold")
    console.indented(table(("", "", ""), rows))


def verdict(
    report: Mapping[str, Any], folder: Path, *, again: bool = False, quiet: bool = False
) -> None:
    """Print one target's verdict, reasons and numbers; what the build saw is not told `again`.

    One line where it is to be `quiet`.
    """
    if quiet:
        Console().unbroken(f"{report['verdict']}  {report['target']}  {folder / 'report.html'}")
        return
    tasks.load(report.get("task", tasks.CLASSIFICATION))  # which declares its sections
    console = Console()
    name = report["verdict"]
    head = Text.assemble((f"\n{name}", f"bold {_COLOURS[name]}"), ("  " + report["target"], "bold"))
    console.print(head)
    for reason in report["reasons"]:
        console.indented(reason)
    if name == "UNVERIFIED":
        cpu = report["environment"].get("cpu", "this machine")
        console.indented(f"a preview, measured on {cpu}, not there:", above=1)
    numbers = table(("", "float", "shipped", "difference"), figures(report))
    numbers.show_header = True
    numbers.columns[0].no_wrap = True
    console.print()
    console.indented(numbers)
    for line in lines(report, again=again):
        console.indented(line)
    console.print()
    for file in ("report.html", "report.json"):
        console.unbroken(f"  {folder / file}")
