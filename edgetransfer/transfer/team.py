"""The processes that share one fit: here the one that has it all to itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]


class Team:
    """One process; what several do instead is in `accelerated.Processes`.

    Rank 0 is the one that keeps stages, tells of them, and goes on after the fit. In words is
    `told` how many there are, by what they talk and where they train; this one trains on `device`,
    None where the machine may choose.
    """

    rank = 0
    size = 1
    told = "1 process"
    device: str | None = None

    def share(self, rows: Array) -> Array:
        """Return the rows of a batch that are this process's, int [B / size]; maybe none.

        >>> Team().share(np.arange(3))
        array([0, 1, 2])
        """
        return rows

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes in place of each gradient."""

    def total(self, values: Array) -> Array:
        """Return the sum over all processes of float32 values, the same bits everywhere."""
        return values

    def meet(self, *, flag: bool = False) -> bool:
        """Wait for all, and tell whether one of them raised the flag.

        Raises:
            StageError: another process failed; said by the first process only.
        """
        return flag

    def fail(self, message: str) -> None:
        """Tell the others that this process failed, wherever they wait."""

    def part(self) -> None:
        """End all processes but the first, which goes on alone."""


ALONE = Team()
