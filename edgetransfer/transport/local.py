"""Runs the packed agent on this machine, each job in a fresh process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.agent_archive import installed_agent
from edgetransfer.errors import SpecError
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport.job import patience_s, plain
from edgetransfer.transport.outcome import ANSWER, Transcript, checked, unfinished
from edgetransfer.transport.place import ALL_ACTIONS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgetransfer.transport.job import Job


@dataclass(frozen=True)
class Python:
    """What starts a Python on this machine, and the environment it is given."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


ALWAYS = {"ORT_DISABLE_TELEMETRY": "1"}
KEPT = frozenset(
    (
        *("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
        *("HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "TMP", "TEMP", "SYSTEMROOT"),
        *("XDG_CACHE_HOME", "EDGETRANSFER_ENGINES", "EDGETRANSFER_EMULATOR"),
        *("CUDA_CACHE_PATH", "CUDA_MODULE_LOADING"),
        *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES"),
    )
)
KEPT_FAMILIES = ("LC_", "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "MKL_")
"""What an agent keeps of the environment it is started from, by name and by how a name begins."""
_LISTS = frozenset({"PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"})


def clean_environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return what an agent may know of an environment: nothing that loads code by a name.

    Programs and libraries are found by absolute folders only: an empty part of a list, or ``.``,
    is the folder that we were started in, which may be anybody's.

    >>> clean_environment({"PATH": "/bin::.", "LD_PRELOAD": "/tmp/x.so", "PYTHONPATH": "/tmp"})
    {'PATH': '/bin', 'ORT_DISABLE_TELEMETRY': '1'}
    """
    kept = {}
    for name, value in given.items():
        if name in _LISTS:
            folders = value.split(os.pathsep)
            kept[name] = os.pathsep.join(each for each in folders if Path(each).is_absolute())
        elif name in KEPT or name.startswith(KEPT_FAMILIES):
            kept[name] = value
    return {**kept, **ALWAYS}


@dataclass(frozen=True)
class Local:
    """This machine, as a place."""

    agent: Path = field(default_factory=installed_agent)
    where: str = "local"
    emulated: bool = False
    actions: frozenset[str] = ALL_ACTIONS

    def run(self, job: Job, out: Path, *, progress: Progress = silent) -> Mapping[str, Any]:
        """Do one job: see `run`."""
        return checked(job, run(self.agent, job, out, progress=progress), out, self.where)


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
    """Do one job, and return the fields of its result line.

    Raises:
        StageError: the agent ended without a result, or was ended, for it said nothing for too
            long; its last words are given.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=out) as file:
        json.dump(plain(job, str(out)), file)
        file.flush()
        chosen = python or Python((sys.executable,), clean_environment(os.environ))
        silent_s = patience_s(job, emulated=python is not None)
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
            subprocess.Popen(
                [*chosen.command, str(agent), file.name],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                errors="replace",
                env=dict(chosen.environment),
                start_new_session=True,
            ) as process,
        ):
            heard, watch = Transcript(progress), _Watch(process, silent_s)
            returncode = _heard_out(process, heard, watch)
            errors.seek(0)
            words = errors.read()
            if watch.ended:
                words += f"\nit said nothing for {silent_s:.0f} s, and was ended"
            if returncode != 0 or heard.result is None:
                raise unfinished(job, returncode, words)
    return heard.result


def _heard_out(process: subprocess.Popen[str], heard: Transcript, watch: _Watch) -> int:
    """Hear a process out and return how it ended; end it where this one is ended."""
    assert process.stdout is not None  # a pipe
    try:
        while line := process.stdout.readline(ANSWER.most):
            watch.moved()
            heard.line(line)
        return process.wait()
    except BaseException:
        watch.end()
        raise
    finally:
        watch.over()


class _Watch:
    """Ends an agent, and what it started, that says nothing for too long."""

    def __init__(self, process: subprocess.Popen[str], silent_s: float) -> None:
        self._process, self._silent_s = process, silent_s
        self._moved_at, self._over = time.monotonic(), threading.Event()
        self.ended = False
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        # Seldom, for it may be that times are taken.
        while not self._over.wait(min(5.0, self._silent_s / 4)):
            if time.monotonic() - self._moved_at > self._silent_s:
                self.ended = True
                self.end()
                return

    def moved(self) -> None:
        """Note that it said something."""
        self._moved_at = time.monotonic()

    def end(self) -> None:
        """End it now."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def over(self) -> None:
        """Look no more."""
        self._over.set()
