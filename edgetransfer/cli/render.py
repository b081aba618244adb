"""Prints a report: the verdict first, then the numbers behind it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from rich.text import Text

from edgetransfer.bundle.files import write_whole, writing
from edgetransfer.bundle.opened import MANIFEST
from edgetransfer.bundle.readers import read_manifest
from edgetransfer.cli.terminal import Console, table
from edgetransfer.measure.verdict import exit_code, is_sound, worst
from edgetransfer.report.sections import QUESTIONS, answers
from edgetransfer.spec.preprocess import INPUTS, TextPreprocessing

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
        (name, "cached" if kept.reused else f"{kept.cost.seconds:.2f} s", kept.key[:12])
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
    console = Console()
    _head(console, report, again=again)
    if report["verdict"] == "UNVERIFIED":
        cpu = report["environment"].get("cpu", "this machine")
        console.indented(f"What follows is a preview, measured on {cpu}, not there.", above=1)
    _answers(console, report, folder, again=again)
    console.print()
    for file in ("report.html", "report.json"):
        console.unbroken(f"  {folder / file}")


def targets(reports: Mapping[str, Mapping[str, Any]], out: Path) -> None:
    """Print the verdicts of several targets with their reasons, then a row each, and the pages."""
    from edgetransfer.report.ci import SHORT, summary
    from edgetransfer.report.index import INDEX

    console = Console()
    for report in reports.values():
        _head(console, report, again=False)
    heads, rows = summary(reports)
    console.print()
    heads = [SHORT.get(head, head.replace(" ", "\n")) for head in heads]
    made = table(heads, rows, gap=1, overflow="fold")
    for column in made.columns[1:]:
        column.no_wrap = True
    console.print(made)
    for asks in ("merit", "next"):
        console.print(f"\n{QUESTIONS[asks]}", style="bold")
        for line in _in_common(reports, asks):
            console.indented(line)
    first = next(iter(reports))
    for line in _steps(reports[first], out / first):
        console.indented(line)
    console.unbroken(f"\n  {out / INDEX}")


def _in_common(reports: Mapping[str, Mapping[str, Any]], asks: str) -> Iterator[str]:
    """Yield what is told of a question, once; what is not of all targets, with theirs."""
    whose: dict[str, list[str]] = {}
    for name, report in reports.items():
        lines = next(lines for key, _, lines in answers(report, again=False) if key == asks)
        for line in dict.fromkeys(lines):
            whose.setdefault(line, []).append(name)
    for line, names in whose.items():
        yield line if len(names) == len(reports) else f"{', '.join(names)}: {line}"


def _head(console: Console, report: Mapping[str, Any], *, again: bool) -> None:
    """Print the verdict of a target, and its reasons: first that nothing was measured there."""
    name, first = report["verdict"], "not measured on the target; "
    head = Text.assemble((f"\n{name}", f"bold {_COLOURS[name]}"), ("  " + report["target"], "bold"))
    console.print(head)
    for reason in sorted(report["reasons"], key=lambda text: not text.startswith(first)):
        _reason(console, report, reason, again=again)


_COMMAND = re.compile(r"(?:; |^)(?:to verify|the preview there): (?=edgetransfer )")


def _reason(console: Console, report: Mapping[str, Any], text: str, *, again: bool) -> None:
    """Print a reason; of a device that nothing ran on yet, what to paste is a line of its own."""
    rest = text.removeprefix("not measured on the target; ")
    if rest == text:
        console.indented(text)
        return
    why, *commands = _COMMAND.split(rest)
    built = "" if again else "Built. "
    then = f": {why}" if why else ". To measure it there:" if commands else "."
    console.indented(f"{built}Not measured on {report['target']} yet{then}")
    for command in commands:
        console.unbroken(f"    {command}")
        if "ssh:HOST" in command:
            console.indented("with the device's name or address, as ssh takes it, for HOST")


def _answers(console: Console, report: Mapping[str, Any], folder: Path, *, again: bool) -> None:
    """Print what the sections say of each question, in the order in which a user has them."""
    told = [
        (asks, rows, [*lines, *(_steps(report, folder) if asks == "next" and not again else ())])
        for asks, rows, lines in answers(report, again=again)
    ]
    widths = [
        max((len(row[at]) for _, rows, _ in told for row in rows), default=0) for at in range(3)
    ]
    shown = False
    for asks, rows, lines in told:
        if not rows and not lines:
            continue
        console.print(f"\n{QUESTIONS[asks]}", style="bold")
        if rows:
            numbers = table(("", "float", "shipped", "difference"), rows)
            numbers.show_header, shown = not shown, True
            for column, width in zip(numbers.columns, widths, strict=False):
                column.min_width = width
            numbers.columns[0].no_wrap = True
            console.indented(numbers)
        for line in lines:
            console.indented(line)


LOW = 0.9
"""Where the lower end of the accuracy's interval is below this, a larger backbone is named."""
LARGER = "hf:google/mobilenet_v2_1.0_224"
"""A start for photographs, of 2.2 M parameters, under Apache-2.0."""


def _steps(report: Mapping[str, Any], folder: Path) -> Iterator[str]:
    """Yield what to do with a bundle that was built."""
    if not (folder / MANIFEST).is_file():
        return
    manifest = read_manifest(folder / MANIFEST)
    recipe, kind = manifest["recipe"], manifest.get("task", "").partition(" ")[0]
    source, data = (recipe.get(key, {}).get("source", "") for key in ("backbone", "data"))
    least = (report.get("accuracy") or {}).get("candidate_ci95") or [1.0]
    if least[0] < LOW and data and source.startswith("builtin:"):
        yield f"a larger backbone: edgetransfer build {shlex.quote(data)} --backbone {LARGER}"
    given = INPUTS.get(kind, TextPreprocessing).given
    yield f"use it: edgetransfer predict {shlex.quote(str(folder))} {given}"
    if (folder / "README.md").is_file():
        yield f"in an app: {folder / 'README.md'}"
