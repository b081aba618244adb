"""A place where the agent does jobs, each in a fresh process: what every transport gives."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.agent_archive import installed_agent
from edgetransfer.errors import SpecError
from edgetransfer.spec.outside import meant
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgetransfer.agent.outputs import Outputs
    from edgetransfer.transport.job import Job, Variant

LOCAL = "local"
TRANSPORTS = {
    LOCAL: "local",
    "ssh": "ssh.place",
    "qemu": "qemu",
    "browser": "browser.place",
    "adb": "browser.adb",
}
"""Each transport's word and the module of this package that has its `connect(address, agent)`."""
TAKES_SOFTWARE = frozenset({"ssh"})
"""Those whose `connect` also takes what the user says of the software there."""
TIMED_ACTIONS = frozenset({"time", "sustain", "energy"})
ALL_ACTIONS = frozenset({"outputs", "optimise", "describe"}) | TIMED_ACTIONS


@dataclass(frozen=True)
class Software:
    """What the user says of the software on a device: wheels to bring there, what starts Python."""

    wheels: Path | None = None
    python: str | None = None


AS_IT_IS = Software()


class Place(ABC):
    """A device that is connected, until the ``with`` block of its transport's `connect` ends.

    `where` is what the user said: ``ssh:pi@kitchen``. On an emulated processor numbers count, times
    say nothing, and none are taken; `actions` are what it can do of a job's: a browser cannot write
    its graph back. Of jobs that take no times it may do `at_once` side by side.
    """

    where: str
    emulated: bool = False
    at_once: int = 1
    actions: frozenset[str] = ALL_ACTIONS

    @abstractmethod
    def do(self, job: Job, out: Path, progress: Progress) -> Mapping[str, Any]:
        """Do one job in a fresh process, and return the fields of its result line as they came."""

    def run(self, job: Job, out: Path, *, progress: Progress = silent) -> Mapping[str, Any]:
        """Do one job in a fresh process and return the fields of its result line, checked.

        Files that the job names lie on this machine, and what the agent writes comes back into
        `out`, here too, under the names it was written by. StageError, with the agent's last words,
        where it ended without a result, or the job is none for this place.
        """
        from edgetransfer.transport.outcome import checked

        return checked(job, self.do(job, out, progress), out, self.where)

    @contextmanager
    def side_by_side(self) -> Iterator[ThreadPoolExecutor]:
        """Yield threads for jobs that take no times; all end where one fails or the run stops."""
        pool = ThreadPoolExecutor(self.at_once)
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            self.end()
            raise
        finally:
            pool.shutdown()

    def end(self) -> None:  # noqa: B027 (no place has to do several jobs at once)
        """End the jobs that other threads wait for; a place that does one at a time has none."""

    def show(self, found: Mapping[str, Any], model: Path) -> None:  # noqa: B027 (most have no screen)
        """Show whoever holds the device what was found, and let them try the model there."""

    def outputs(
        self, variant: Variant, folder: Path, *, progress: Progress = silent
    ) -> tuple[Outputs, Mapping[str, Any]]:
        """Run a model over its examples; return what it gives, and what else the agent told.

        `folder` is for files meanwhile. StageError as in `run`.
        """
        from edgetransfer.transport.job import Job
        from edgetransfer.transport.outcome import read_outputs

        told = self.run(Job("outputs", (variant,)), folder, progress=progress)
        return read_outputs(told, folder), told


def connect(
    where: str, software: Software = AS_IT_IS, *, agent: Path | None = None
) -> AbstractContextManager[Place]:
    """Connect to the place that ``--on`` names: ``local``, ``ssh:HOST``; tests bring an agent.

    SpecError where there is no such transport or address, it needs no software, or wheels do not
    fit; UnsupportedError where the place or this machine lacks what is needed or is not prepared;
    StageError where the place cannot be reached.
    """
    word, _, address = where.partition(":")
    if word not in TRANSPORTS:
        raise SpecError(
            "no such place to measure on",
            where="--on",
            found=repr(where),
            expected=", ".join(TRANSPORTS),
            fix=meant(word, TRANSPORTS),
        )
    module = importlib.import_module(f"edgetransfer.transport.{TRANSPORTS[word]}")
    more = (software,) if word in TAKES_SOFTWARE else ()
    if software != AS_IT_IS and not more:
        raise SpecError(
            "--wheels and --python are for a device with a Python of its own",
            where="--on",
            found=repr(where),
            expected=", ".join(f"{each}:HOST" for each in sorted(TAKES_SOFTWARE)),
        )
    place: AbstractContextManager[Place] = module.connect(
        address, agent or installed_agent(), *more
    )
    return place
