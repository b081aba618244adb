"""How a run tells what it is doing, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from edgetransfer.spec.progress import Progress, silent


class Reporter(Protocol):
    """Told of the beginning and end of every stage."""

    def begin(self, stage: str) -> Progress:
        """Begin a stage; what is returned is called as it goes."""

    def end(self, stage: str, summary: str, *, reused: bool) -> None:
        """End a stage with one line of what came out."""


class SilentReporter:
    """Says nothing: the default of the Python API."""

    def begin(self, stage: str) -> Progress:
        """Begin a stage."""
        return silent

    def end(self, stage: str, summary: str, *, reused: bool) -> None:
        """End a stage."""


@dataclass(frozen=True)
class Prefixed:
    """Tells of stages that one run does for several networks under names of their own."""

    reporter: Reporter
    prefix: str

    def begin(self, stage: str) -> Progress:
        """Begin a stage."""
        return self.reporter.begin(f"{self.prefix} {stage}")

    def end(self, stage: str, summary: str, *, reused: bool) -> None:
        """End a stage."""
        self.reporter.end(f"{self.prefix} {stage}", summary, reused=reused)


@dataclass
class Line:
    """The one line that a stage leaves: set by the stage, told when it ends."""

    progress: Progress
    summary: str = ""
    reused: bool = False


@contextmanager
def telling(reporter: Reporter, stage: str) -> Iterator[Line]:
    """Tell of a stage around the work."""
    line = Line(reporter.begin(stage))
    yield line
    reporter.end(stage, line.summary, reused=line.reused)
