"""The one way to a terminal: what comes from outside is shown, and never obeyed."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, TextIO

import rich.console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from edgetransfer.spec.outside import printable
from edgetransfer.spec.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from rich.console import ConsoleOptions, RenderableType
    from rich.progress import Task

    from edgetransfer.spec.progress import Progress as Told

_NAME_WIDTH = 24
_EVERY_S = 10.0
"""Without a terminal, a long stage says how far it is this often."""


class Console(rich.console.Console):
    """Shows text plainly: control characters of labels, files and devices are spelled out."""

    def __init__(self, file: TextIO | None = None) -> None:
        super().__init__(file=file, highlight=False)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render to segments; those that steer the terminal are rich's own alone."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)

    def unbroken(self, text: str) -> None:
        """Print a text that may be copied: it is not broken at the terminal's width."""
        self.print(Text(text), soft_wrap=True)

    def indented(self, what: str | Table, *, above: int = 0, below: int = 0) -> None:
        """Print a text or a table two spaces in, with empty lines above and below it."""
        shown = Text(what) if isinstance(what, str) else what
        self.print(Padding(shown, (above, 0, below, 2)))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    right: Iterable[str] = (),
    gap: int = 2,
    **how: Any,  # noqa: ANN401 (what rich takes)
) -> Table:
    """Return a table without lines; without a head where its first column has no name.

    Cells are text and no markup, `right` are the columns justified to the right, a gap is in
    spaces, and `how` is what rich's `add_column` takes, for every column.
    """
    head = bool(columns[0])
    made = Table(box=None, padding=(0, gap, 0, 0), header_style="bold", show_header=head)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", **how)
    for row in rows:
        made.add_row(*map(Text, row))
    return made


def flat(told: Mapping[str, Any], show: Callable[[Any], str] = str) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of every field of a spec, sections by a dot."""
    for section, value in told.items():
        for key, each in value.items() if isinstance(value, dict) else [("", value)]:
            yield (f"{section}.{key}" if key else section), show(each)


def show(text: str) -> None:
    """Write lines to standard output, plainly."""
    sys.stdout.write(printable(text))


def plain_json(text: str) -> str:
    r"""Return JSON whose text a terminal shows as it is.

    >>> plain_json('{"a": "\x9b31m"}')
    '{"a": "\\u009b31m"}'
    """
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )


def print_json(value: Any) -> None:  # noqa: ANN401 (any plain JSON value)
    """Print plain JSON values, which stay JSON on a terminal that lacks some letters."""
    plain = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    sys.stdout.write(plain_json(json.dumps(value, indent=2, ensure_ascii=plain)) + "\n")


class TerminalReporter:
    """Tells of every stage as it goes: a bar with the time left on a terminal, else plain lines."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        # Bound to the stream of now: tracing takes away what libraries print there meanwhile.
        self._console = Console(sys.stderr)
        self._bar: Progress | None = None
        self._start = 0.0

    def begin(self, stage: str) -> Told:
        """Begin a stage: a bar on a terminal."""
        self._start = time.monotonic()
        if self._quiet:
            return silent
        if not self._console.is_terminal:
            return _Lines(self._console, stage)
        self._bar = bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            _Done(),
            _TimeLeft(),
            console=self._console,
            transient=True,
        )
        task = bar.add_task(stage.ljust(_NAME_WIDTH), total=None)
        bar.start()
        return lambda done, total: bar.update(task, completed=done, total=total)

    def end(self, stage: str, summary: str, *, reused: bool) -> None:
        """End a stage: one line of what came out and how long it took."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        if self._quiet:
            return
        took = "cached" if reused else f"{time.monotonic() - self._start:.1f} s"
        self._console.unbroken(f"  {stage:<{_NAME_WIDTH}} {took:>8}  {summary}")


class _Done(MofNCompleteColumn):
    """How much is done; for how long it has run, where that is not known."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.elapsed or 0:.0f} s") if task.total is None else super().render(task)


class _TimeLeft(TimeRemainingColumn):
    """The time left, where it can be told."""

    def render(self, task: Task) -> Text:
        return Text() if task.total is None else Text("time left ") + super().render(task)


class _Lines:
    """Prints a line now and then."""

    def __init__(self, console: Console, stage: str) -> None:
        self._console = console
        self._stage = stage
        self._last = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now - self._last >= _EVERY_S:
            self._last = now
            of = "" if total is None else f" of {total}"
            self._console.print(Text(f"  {self._stage:<{_NAME_WIDTH}} {done}{of}"))
