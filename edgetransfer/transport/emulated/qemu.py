"""Runs the agent on an emulated processor: another instruction set, before any device is there."""

from __future__ import annotations

import platform
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.agent.environment import architecture
from edgetransfer.errors import StageError, UnsupportedError
from edgetransfer.spec import catalogue
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport import local
from edgetransfer.transport.emulated import sysroot
from edgetransfer.transport.outcome import checked
from edgetransfer.transport.place import ALL_ACTIONS, TIMED_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgetransfer.spec.target import EmulatedProcessor
    from edgetransfer.transport.emulated.sysroot import Emulation
    from edgetransfer.transport.job import Job

WORD = "qemu"


@dataclass(frozen=True)
class Qemu:
    """An emulated processor, as a place."""

    agent: Path
    prepared: Emulation
    emulated: bool = True
    actions: frozenset[str] = ALL_ACTIONS - TIMED_ACTIONS

    @property
    def where(self) -> str:
        """What the user said."""
        return f"{WORD}:{self.prepared.preview.name}"

    def run(self, job: Job, out: Path, *, progress: Progress = silent) -> Mapping[str, Any]:
        """Do one job in a fresh process of the emulator.

        Raises:
            StageError: the agent ended without a result, or times were asked for.
        """
        if job.action not in self.actions:
            raise StageError(
                "no times are taken on an emulated processor: they say nothing of any device",
                where=self.where,
                fix="time on the device itself, or on this machine (local)",
            )
        python = local.Python(self.prepared.command(), self.prepared.environment())
        result = local.run(self.agent, job, out, progress=progress, python=python)
        return checked(job, result, out, self.where)


@contextmanager
def connect(address: str, agent: Path) -> Iterator[Qemu]:
    """Give an emulated processor of the catalogue that is prepared.

    Raises:
        SpecError: there is no such processor.
        UnsupportedError: it is not prepared, or cannot be emulated here.
    """
    preview = catalogue.preview(address)
    check_host(preview)
    prepared = sysroot.find(preview, default_cache())
    if prepared is None:
        raise UnsupportedError(
            "the emulated processor is not prepared",
            where=f"{WORD}:{address}",
            fix=f"edgetransfer doctor --prepare {WORD}:{address}",
        )
    yield Qemu(agent, prepared)


def check_host(preview: EmulatedProcessor) -> None:
    """Make sure that this machine can emulate the processor.

    Raises:
        UnsupportedError: QEMU's user mode is Linux only; or without files for the guest, the guest
            runs this machine's own programs, and those are of another architecture.
    """
    found = None
    if platform.system() != "Linux":
        found = platform.system()
    elif preview.sysroot is None and architecture() != preview.arch:
        found = architecture()
    if found is not None:
        raise UnsupportedError(
            "the processor cannot be emulated on this machine",
            where=f"{WORD}:{preview.name}",
            found=found,
            expected="Linux" + ("" if preview.sysroot else f" on {preview.arch}"),
        )
