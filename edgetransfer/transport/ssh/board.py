"""Finds a Python on the device that can run the agent, or says exactly what lacks."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgetransfer.agent.system import ending
from edgetransfer.errors import UnsupportedError
from edgetransfer.transport.outcome import last_words
from edgetransfer.transport.ssh import look as ssh_look
from edgetransfer.transport.ssh.link import LOST, Client
from edgetransfer.transport.wheels import PACKAGES, WheelTarget

_LOOK = Path(ssh_look.__file__).read_text(encoding="utf-8")
OLDEST = (3, 9)
_USUAL = (
    "python3",
    "$HOME/.venv/bin/python3",
    "$HOME/venv/bin/python3",
    "$HOME/env/bin/python3",
    *(f"python3.{minor}" for minor in range(14, 8, -1)),
)
"""Where a Python is looked for; systems that keep pip from theirs make people use a folder."""


@dataclass(frozen=True)
class Import:
    """How importing a package ended."""

    package: str
    returncode: int
    version: str
    words: str

    def __str__(self) -> str:
        if self.returncode == 0:
            return f"{self.package} {self.version}"
        if f"No module named '{self.package}'" in self.words:
            return f"no {self.package}"
        last = last_words(self.words).rpartition("\n")[2]
        return f"{self.package} does not load ({ending(self.returncode)}. {last})"


@dataclass(frozen=True)
class Board:
    """A Python on the device, and what it says of itself and the device."""

    python: str
    version: tuple[int, ...]
    wanted: WheelTarget
    imports: tuple[Import, ...]

    @property
    def complete(self) -> bool:
        """Whether the agent can run in it."""
        return len(self.imports) == len(PACKAGES) and all(i.returncode == 0 for i in self.imports)

    def __str__(self) -> str:
        has = self.wanted
        libc = f", {has.libc}" if has.libc else ""
        narrow = ", 32 bits" if has.bits == 32 else ""
        loads = "".join(f"; {each}" for each in self.imports)
        version = ".".join(map(str, self.version))
        return f"{self.python} {version} on {has.system} {has.machine}{narrow}{libc}{loads}"


def look(client: Client, python: str | None, site: str = "") -> Board:
    """Return the first Python of the device that can run the agent, else the best there is.

    A Python that the user named is the only one looked at; packages in the folder `site` come
    first. StageError where the device cannot be reached, UnsupportedError without a fit Python.
    """
    wanted = [f'"{each}"' for each in _USUAL]
    if python:  # quoted for a shell, less the home folder that begins it
        rest = python.removeprefix("~/")
        wanted = [shlex.quote(python) if rest == python else f'"$HOME"/{shlex.quote(rest)}']
    script = (
        f"look={shlex.quote(_LOOK)}\n"
        f"echo {ssh_look.MARK}\n"
        f"for each in {' '.join(wanted)}; do\n"
        '  found=$(command -v "$each") || continue\n'
        f'  "$found" -c "$look" {shlex.quote(site)} </dev/null && break\n'
        "done\nexit 0\n"
    )
    with client.call("exec sh -s") as call:
        with suppress(BrokenPipeError):
            call.stdin.write(script.encode())
            call.stdin.close()
        said = call.stdout.read().decode("utf-8", "replace")
        code, words = call.ended()
    if code == LOST:
        raise client.complaint(words)
    _, mark, lines = said.partition(ssh_look.MARK + "\n")
    if code or not mark:
        raise UnsupportedError(
            "the device has no POSIX shell to start the agent with",
            where=client.where,
            found=last_words(words) or said[-200:],
            expected="Linux, or macOS",
        )
    boards = [_board(json.loads(line)) for line in lines.splitlines()]
    recent = [board for board in boards if board.version >= OLDEST]
    best = next((board for board in boards if board.complete), recent[0] if recent else None)
    if best is None:
        raise UnsupportedError(
            "the device has no Python that can run the agent",
            where=client.where,
            found="; ".join(map(str, boards)) or (f"no {python}" if python else "none"),
            expected=f"Python {OLDEST[0]}.{OLDEST[1]} or newer",
            fix="install python3 there, or name one: --python /path/to/python3",
        )
    return best


def _board(told: Mapping[str, Any]) -> Board:
    imports = tuple(Import(name, **each) for name, each in told["imports"].items())
    major, minor, *_ = version = tuple(told["version"])
    has = {key: told[key] for key in ("system", "machine", "bits", "libc")}
    return Board(told["python"], version, WheelTarget((major, minor), **has), imports)


def lacking(client: Client, board: Board) -> UnsupportedError:
    """Return the error of a device that has a Python and lacks packages, with the commands."""
    fix = board.wanted.obstacle()
    if fix is None:
        folder = f"wheels-{board.wanted.machine}-{board.version[0]}.{board.version[1]}"
        fix = (
            f"install them there (pip install {' '.join(PACKAGES)}, and name that Python by "
            "--python), or bring them from here, for this measurement only:\n"
            f"{board.wanted.download(folder)}\n"
            f"edgetransfer bench BUNDLE --on {client.where} --wheels {folder}"
        )
    return UnsupportedError(
        "the device lacks what the agent needs",
        where=client.where,
        found=str(board),
        expected=" and ".join(PACKAGES),
        fix=fix,
    )
