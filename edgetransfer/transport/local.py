"""Runs the packed agent on this machine, each job in a fresh process.

It does not judge what comes back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import SpecError
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport.job import plain
from edgetransfer.transport.outcome import Heard, unfinished
from edgetransfer.transport.place import ALL_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgetransfer.transport.job import Job


@dataclass(frozen=True)
class Python:
    """What starts a Python on this machine, and the environment it is given."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Local:
    """This machine, as a place."""

    agent: Path
    where: str = "local"
    emulated: bool = False
    actions: frozenset[str] = ALL_ACTIONS

    def run(self, job: Job, out: Path, *, progress: Progress = silent) -> Mapping[str, Any]:
        """Do one job: see `run`."""
        return run(self.agent, job, out, progress=progress)


@contextmanager
def connect(address: str, agent: Path) -> Iterator[Local]:
    """Give this machine; there is only one.

    Raises:
        SpecError: an address was given.
    """
    if address:
        raise SpecError("this machine has no address", where="--on", found=repr(address))
    yield Local(agent)


def run(
    agent: Path, job: Job, out: Path, *, progress: Progress = silent, python: Python | None = None
) -> Mapping[str, Any]:
    """Do one job and return the fields of its result line.

    Args:
        agent: the packed agent.
        job: what to do.
        out: folder the agent writes its arrays to.
        progress: told of examples done.
        python: what the agent is started with; default: what runs this.

    Raises:
        StageError: the agent ended without a result; its last words are given.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=out) as file:
        json.dump(plain(job, str(out)), file)
        file.flush()
        chosen = python or Python((sys.executable,), os.environ)
        environment = {**chosen.environment, "ORT_DISABLE_TELEMETRY": "1"}
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
            subprocess.Popen(
                [*chosen.command, str(agent), file.name],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            ) as process,
        ):
            assert process.stdout is not None  # PIPE above
            heard = Heard(progress)
            for line in process.stdout:
                heard.line(line)
            returncode = process.wait()
            errors.seek(0)
            if returncode != 0 or heard.result is None:
                raise unfinished(job, returncode, errors.read())
    return heard.result
