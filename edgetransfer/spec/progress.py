"""The one way in which a long stage tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by a stage as it goes; cheap enough to call once an example."""

    def __call__(self, done: int, total: int | None) -> None:
        """Report `done` of `total` units of work; `total` is None where it is not known."""


def part_of(progress: Progress, before: int, whole: int) -> Progress:
    """Return what is told of a part of the work, and tells of the whole."""
    return lambda done, _: progress(before + done, whole)


def silent(done: int, total: int | None) -> None:
    """Report nothing: the default of every `progress` parameter."""
