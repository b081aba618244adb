"""Runs on the device, sent as text with every call: takes files, and says which it holds."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

MARK = "edgetransfer-device/1"
"""First line of every answer: what a login script prints comes before it."""
CHUNK = 1 << 16

Request = Mapping[str, Any]


class Side:
    """The device's side of one call."""

    def __init__(self, asked: Request, taken: BinaryIO, given: BinaryIO) -> None:
        self.asked = asked
        self.taken = taken
        self.given = given
        self.work = Path(asked.get("work", ""))
        self.files = self.work / "files"
        self.jobs = self.work / "jobs"

    def say(self, **fields: object) -> None:
        """Give one line of the answer."""
        self.given.write((json.dumps(fields) + "\n").encode())
        self.given.flush()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(CHUNK), b""):
            found.update(block)
    return found.hexdigest()


def hello(side: Side) -> None:
    """Make the private work folder, or find it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    wanted = [cache / "edgetransfer-device"]
    wanted.append(Path(tempfile.gettempdir()) / f"edgetransfer-device-{os.getuid()}")
    refused: OSError | None = None
    for work in wanted:
        try:
            work.parent.mkdir(parents=True, exist_ok=True)
            work.mkdir(mode=0o700, exist_ok=True)
            state = work.lstat()
            if state.st_uid != os.getuid() or state.st_mode & 0o77:
                raise OSError(errno.EACCES, "not private to this user (mode 700)", str(work))
            for part in ("files", "jobs", "sites"):
                (work / part).mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=str(work)):
                pass
        except OSError as error:
            refused = refused or error
        else:
            side.say(work=str(work))
            return
    assert refused is not None  # both folders were
    raise refused


def missing(side: Side) -> None:
    """Say of which files how many bytes are not held yet; whole ones are checked by digest."""
    held: dict[str, int] = {}
    for name, size in side.asked["files"].items():
        kept, part = side.files / name, side.files / (name + ".part")
        if kept.is_file() and _is_whole(kept, size):
            os.utime(str(kept))
            continue
        if part.is_file() and _is_whole(part, size):
            part.replace(kept)
            continue
        for file in (kept, part):
            if file.is_file() and file.stat().st_size >= size:
                file.unlink()
        held[name] = part.stat().st_size if part.is_file() else 0
    side.say(held=held, free=shutil.disk_usage(str(side.files)).free)


def _is_whole(path: Path, size: int) -> bool:
    return path.stat().st_size == size and digest_of(path) == path.name[:64]


def receive(side: Side) -> None:
    """Take parts of files, each a line that says which, and then its bytes."""
    wrong: list[str] = []
    for line in iter(side.taken.readline, b"\n"):
        if not line.endswith(b"\n"):
            return
        frame = json.loads(line)
        part = side.files / (frame["name"] + ".part")
        with part.open("r+b" if part.exists() else "wb") as file:
            file.seek(frame["offset"])
            file.truncate()
            left = frame["bytes"]
            while left:
                block = side.taken.read1(min(left, CHUNK))  # type: ignore[attr-defined]
                if not block:
                    return
                file.write(block)
                left -= len(block)
            file.flush()
            os.fsync(file.fileno())
        if digest_of(part) == frame["name"][:64]:
            part.replace(side.files / frame["name"])
        else:
            part.unlink()
            wrong.append(frame["name"])
    side.say(wrong=wrong)


def unpack(side: Side) -> None:
    """Unpack wheels into one folder, once."""
    site = side.work / "sites" / side.asked["site"]
    if not site.is_dir():
        unready = Path(tempfile.mkdtemp(dir=str(site.parent)))
        for name in side.asked["wheels"]:
            with zipfile.ZipFile(str(side.files / name)) as wheel:
                wheel.extractall(str(unready))
        unready.rename(site)
    os.utime(str(site))
    side.say(site=str(site))
