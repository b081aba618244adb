"""Runs the packed agent on this machine, each job in a fresh process."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgetransfer.bundle.agent_archive import installed_agent
from edgetransfer.errors import SpecError
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport.job import Job, patience_s, plain
from edgetransfer.transport.outcome import ANSWER, Transcript, unfinished
from edgetransfer.transport.place import LOCAL, Place

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
_BLOCK = 1 << 16
_RUNNING: set[subprocess.Popen[bytes]] = set()
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
class Local(Place):
    """This machine, as a place."""

    agent: Path = field(default_factory=installed_agent)
    where = LOCAL
    at_once = 2

    def do(self, job: Job, out: Path, progress: Progress) -> Mapping[str, Any]:
        """Do one job: see `run`."""
        return run(self.agent, job, out, progress=progress)

    def end(self) -> None:
        """End all agents that run on this machine for this process."""
        for process in tuple(_RUNNING):
            _end(process)


def connect(address: str, agent: Path) -> AbstractContextManager[Local]:
    """Give this machine; there is only one."""
    if address:
        raise SpecError("this machine has no address", where="--on", found=repr(address))
    return nullcontext(Local(agent))


def run(
    agent: Path,
    job: Job,
    out: Path,
    *,
    progress: Progress = silent,
    emulation: tuple[Sequence[str], Mapping[str, str]] | None = None,
) -> Mapping[str, Any]:
    """Do one job, and return the fields of its result line.

    An emulation is what starts Python on it, and the environment that it is given. StageError, with
    its last words, where the agent ended without a result, or was ended for its silence.
    """
    with tempfile.NamedTemporaryFile("w", suffix=".json", dir=out) as file:
        json.dump(plain(job, str(out)), file)
        file.flush()
        command, environment = emulation or ([sys.executable], clean_environment(os.environ))
        silent_s = patience_s(job, emulated=emulation is not None)
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
            subprocess.Popen(
                [*command, str(agent), file.name],
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                start_new_session=True,
            ) as process,
        ):
            heard = Transcript(progress)
            _RUNNING.add(process)
            try:
                was_ended = _heard_out(process, heard, silent_s)
            finally:
                _RUNNING.discard(process)
            errors.seek(0)
            words = errors.read()
            if was_ended:
                words += f"\nit said nothing for {silent_s:.0f} s, and was ended"
            if process.returncode != 0 or heard.result is None:
                raise unfinished(job, process.returncode, words)
    return heard.result


def _heard_out(process: subprocess.Popen[bytes], heard: Transcript, silent_s: float) -> bool:
    """Hear a process out; return whether it was ended, for it finished no line for so long.

    It is ended too where this one is, with all that it started.
    """
    assert process.stdout is not None  # a pipe
    line, until = bytearray(), time.monotonic() + silent_s
    try:
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            while ready.select(max(0.0, until - time.monotonic())):
                block = os.read(process.stdout.fileno(), _BLOCK)
                if not block:
                    heard.line(line.decode("utf-8", "replace"))
                    process.wait(silent_s)
                    return False
                first, *more = block.split(b"\n")
                line += first[: max(0, ANSWER.most - len(line))]
                for each in more:
                    heard.line(line.decode("utf-8", "replace"))
                    line, until = bytearray(each), time.monotonic() + silent_s
    except subprocess.TimeoutExpired:
        pass
    except BaseException:
        _end(process)
        raise
    _end(process)
    process.wait()
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
