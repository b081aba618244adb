"""Reads small files of the system and asks its programs: one door, so that tests can fake it."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Callable, List, NamedTuple, Optional, Sequence

Reader = Callable[[str], Optional[str]]
ASKED_S = 5.0
"""A program that says nothing for so long says nothing."""
_SHELL_SIGNAL = 128
"""A shell gives 128 plus the number of the signal that ended a command."""


def read_text(path: str) -> Optional[str]:
    """Return the content of a small system file, or None where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def held_mib(field: str, file: str = "/proc/self/status") -> Optional[float]:
    """Return the memory of this process that a field of the system tells, in MiB, if it is told."""
    try:
        for line in Path(file).read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return None


def reset_peak() -> bool:
    """Start the high-water mark afresh (Linux, unprivileged); return whether that worked."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mib() -> float:
    """Return the most memory this process has held, in MiB, since start or `reset_peak`."""
    peak = held_mib("VmHWM")
    if peak is not None:
        return peak
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


def find(pattern: str) -> List[str]:
    """Return the paths that match, in the order of their names."""
    return sorted(str(each) for each in Path("/").glob(pattern.lstrip("/")))


def ask(command: Sequence[str]) -> Optional[str]:
    """Return what a program says, or None where it is absent, fails or cannot be started."""
    try:
        done = subprocess.run(
            list(command), capture_output=True, text=True, check=True, timeout=ASKED_S
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def ending(returncode: int) -> str:
    """Say how a process ended, by its return code as Python or a shell has it.

    >>> ending(-11), ending(139), ending(3)
    ('killed by SIGSEGV', 'killed by SIGSEGV', 'exit code 3')
    """
    number = -returncode if returncode < 0 else returncode - _SHELL_SIGNAL
    try:
        return "killed by %s" % signal.Signals(number).name
    except ValueError:
        return "killed by signal %d" % number if returncode < 0 else "exit code %d" % returncode


class System(NamedTuple):
    """How the system is read."""

    read: Reader = read_text
    find: Callable[[str], List[str]] = find
    ask: Callable[[Sequence[str]], Optional[str]] = ask

    def number(self, path: str) -> Optional[int]:
        """Return the whole number that a file holds, None where it holds none.

        >>> System(read={"/a": "42", "/b": "auto"}.get).number("/a")
        42
        >>> System(read={"/a": "42", "/b": "auto"}.get).number("/b") is None
        True
        """
        try:
            return int(self.read(path) or "", 0)
        except ValueError:
            return None


REAL = System()
