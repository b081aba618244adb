"""The one way in which a long stage tells how far it is."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called by a stage as it goes; cheap enough to call once an example."""

    def __call__(self, done: int, total: int | None) -> None:
        """Report `done` of `total` units of work; `total` is None where it is not known."""


def silent(done: int, total: int | None) -> None:
    """Report nothing: the default of every `progress` parameter."""
