"""A section of the report as one value: what it reads, what of it is shown, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from edgetransfer.spec import tasks
from edgetransfer.spec.tasks import CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from edgetransfer.report.node import Node

Figure = tuple[str, str, str, str]
"""A row of the terminal's table: what, of the float model, of the shipped one, the difference."""


@dataclass(frozen=True)
class Section:
    """What stands in one place of the page, and what the terminal tells of it.

    Attributes:
        name: of the element on the page, and its key in `SECTIONS`.
        place: where it stands among the others, on the page and in the terminal's table.
        title: its heading.
        lede: below the heading: what it is about. Values may have their own.
        block: the key of ``report.json`` that it is about: `rows`, `figures` and `lines` get what
            stands there, and are not asked where nothing does. Without: they get the whole report.
            ``manifest``: they get the manifest of the bundle; the terminal does not show it.
        rows: makes the values of the template; nothing to leave the section out.
        template: Jinja, of what stands in the section; macros of ``macros.html.j2`` are at hand.
        figures: makes rows of the terminal's table.
        lines: makes sentences for the terminal.
        line: where those stand among the others'; default: `place`.
        asks: which of the `QUESTIONS` at the end of a build its figures and lines answer.
        of_build: whether they are about the build, so that no bench tells them again.
        task: whose reports it is shown in; empty for all.
    """

    name: str
    place: int
    title: str = ""
    lede: str = ""
    block: str = ""
    rows: Callable[[Node], Mapping[str, Any] | None] = lambda _: None
    template: str = ""
    figures: Callable[[Any], Iterable[Figure]] = lambda _: ()
    lines: Callable[[Any], Iterable[str]] = lambda _: ()
    line: int | None = None
    asks: str = ""
    of_build: bool = False
    task: str = ""

    def values(self, report: Node, manifest: Node) -> Mapping[str, Any] | None:
        """Return what the template shows; nothing where there is no such section."""
        if not self.block:
            return self.rows(report)
        block = manifest if self.block == "manifest" else report[self.block]
        return None if block.missing else self.rows(block)

    def read(self, report: Mapping[str, Any]) -> list[Any]:
        """Return what the terminal's part is made of: one value or none."""
        found = report.get(self.block) if self.block else report
        return [] if found is None else [found]


QUESTIONS = {
    "merit": "Is the model any good?",
    "cost": "What did quantising cost?",
    "speed": "How fast is it?",
    "size": "How large is it?",
    "": "Also",
    "next": "What next?",
}
"""What a user asks at the end of a build, in that order."""
SECTIONS: dict[str, Section] = {}
"""By name. What a module of `edgetransfer.report.sections` or of a task declares is in it."""


def declare(package: str, path: Iterable[str], task: str = "") -> None:
    """Show the sections that the modules of a package declare, by its ``__path__``."""
    for found in iter_modules(path):
        for each in vars(import_module(f"{package}.{found.name}")).values():
            if isinstance(each, Section):
                SECTIONS[each.name] = replace(each, task=task)


def sections_of(report: Mapping[str, Any]) -> list[Section]:
    """Return the sections that a report may have: those of all, and those of its task."""
    task = report.get("task", CLASSIFICATION)
    tasks.load(task)  # which declares them
    return [each for each in SECTIONS.values() if each.task in ("", task)]


def answers(
    report: Mapping[str, Any], *, again: bool
) -> Iterator[tuple[str, list[Figure], list[str]]]:
    """Yield each question with the rows of the terminal's table, and the sentences below it.

    Where a bundle is measured `again`, what its build saw was told before.
    """
    for asks in QUESTIONS:
        mine = [each for each in sections_of(report) if each.asks == asks]
        figures = [
            row
            for section in sorted(mine, key=lambda each: each.place)
            for block in section.read(report)
            for row in section.figures(block)
        ]
        lines = [
            line
            for section in sorted(mine, key=lambda each: each.line or each.place)
            for block in (() if again and section.of_build else section.read(report))
            for line in section.lines(block)
        ]
        yield asks, figures, lines
