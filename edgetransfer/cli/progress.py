"""Shows how far a run is: a bar with the time left on a terminal, plain lines elsewhere.

It writes to standard error, so that what is asked for can be piped.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgetransfer.cli.console import Console

if TYPE_CHECKING:
    from edgetransfer.spec.progress import Progress as Told

_NAME_WIDTH = 24
_EVERY_S = 10.0
"""Without a terminal, a long stage says how far it is this often."""


class TerminalReporter:
    """Tells of every stage as it goes."""

    def __init__(self) -> None:
        # Bound to the stream of now: tracing takes away what libraries print there meanwhile.
        self._console = Console(sys.stderr)
        self._bar: Progress | None = None
        self._start = 0.0

    def begin(self, stage: str) -> Told:
        """Begin a stage: a bar on a terminal."""
        self._start = time.monotonic()
        if not self._console.is_terminal:
            return _Lines(self._console, stage)
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("time left"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
        )
        task = self._bar.add_task(stage.ljust(_NAME_WIDTH), total=None)
        self._bar.start()
        bar = self._bar
        return lambda done, total: bar.update(task, completed=done, total=total)

    def end(self, stage: str, summary: str, *, reused: bool) -> None:
        """End a stage: one line of what came out and how long it took."""
        self.stop()
        took = "kept" if reused else f"{time.monotonic() - self._start:.1f} s"
        self._console.print(
            f"  {stage:<{_NAME_WIDTH}} {took:>8}  {summary}", markup=False, soft_wrap=True
        )

    def stop(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


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
            self._console.print(f"  {self._stage:<{_NAME_WIDTH}} {done}{of}", markup=False)
