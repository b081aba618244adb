"""What every transport gives: a place where the agent does jobs, each in a fresh process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.transport.job import Job


@dataclass(frozen=True)
class Software:
    """What the user says of the software on a device; a transport that needs none takes none.

    Attributes:
        wheels: folder of this machine with wheels for it.
        python: what starts Python there.
    """

    wheels: Path | None = None
    python: str | None = None


AS_IT_IS = Software()


class Place(Protocol):
    """A device that is connected, until the ``with`` block of its transport's `connect` ends."""

    @property
    def where(self) -> str:
        """What the user said: ``ssh:pi@kitchen``."""
        ...

    @property
    def emulated(self) -> bool:
        """Whether its processor is: numbers count there, times say nothing and are not taken."""
        ...

    @property
    def actions(self) -> frozenset[str]:
        """What it can do of a job's actions; a browser cannot write its graph back."""
        ...

    def run(self, job: Job, out: Path, *, progress: Progress = silent) -> Mapping[str, Any]:
        """Do one job in a fresh process and return the fields of its result line.

        The files that the job names lie on this machine, and what the agent writes comes back
        into `out`, on this machine, under the names it was written by.

        Raises:
            StageError: the agent ended without a result; its last words are given.
        """
        ...


TIMED_ACTIONS = frozenset({"time", "sustain", "energy"})
ALL_ACTIONS = frozenset({"logits", "optimise", "describe"}) | TIMED_ACTIONS
