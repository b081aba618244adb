"""Runs on the device, sent as text with every call: takes files, runs jobs, gives files back.

It stands alone: Python 3.9 and its standard library.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

MARK = "edgetransfer-device/1"
"""First line of every answer: what a login script prints comes before it."""
CHUNK = 1 << 16
_WORDS = 4096
"""Bytes of an agent's standard error that are told."""
_STARTING_S = 30.0
_DAY_S = 86400.0
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
        if not _kept(part, side.files / frame["name"]):
            wrong.append(frame["name"])
    side.say(wrong=wrong)


def _kept(part: Path, kept: Path) -> bool:
    try:
        whole = digest_of(part) == kept.name[:64]
        part.replace(kept) if whole else part.unlink()
    except FileNotFoundError:  # of two that send it the other was faster
        return kept.is_file()
    return whole


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


def _is_running(folder: Path) -> bool:
    try:
        with (folder / "lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _group(folder: Path) -> int | None:
    """Return the process group of a job, once it has started."""
    try:
        return int(json.loads((folder / "started").read_text())["group"])
    except OSError:
        return None


def _write(path: Path, value: object) -> None:
    """Write JSON so that a reader sees all of it or none."""
    unready = path.with_name(f"{path.name}.{os.getpid()}")
    unready.write_text(json.dumps(value))
    unready.replace(path)


def follow(side: Side) -> None:
    """Start a job unless it has been, and tell its journal from an offset on until it ends."""
    folder = side.jobs / side.asked["job"]
    for other in side.jobs.iterdir():
        if other != folder and _is_running(other):
            side.say(busy=_group(other))
            return
    (folder / "out").mkdir(parents=True, exist_ok=True)
    for name in ("lock", "journal", "errors"):
        (folder / name).touch()
    if not (folder / "started").exists() and not _is_running(folder):
        _write(folder / "job.json", side.asked["told"])
        # Of the login's environment an agent gets little.
        names, families = frozenset(side.asked["kept"]), tuple(side.asked["kept_families"])
        kept = {k: v for k, v in os.environ.items() if k in names or k.startswith(families)}
        environment = {**kept, **side.asked["environment"]}
        _detach(folder, side.asked["command"], environment, side.asked["silent_s"])
    end = side.asked["offset"]
    for ended in _looks(side, folder):
        end = _tell(side, folder / "journal", end, whole=ended is None)
        if ended is not None:
            side.say(**ended)


def _looks(side: Side, folder: Path) -> Iterator[dict[str, object] | None]:
    """Look again and again, ever more seldom; give how the job ended as the last."""
    pause, born = 0.02, time.monotonic()
    while True:
        # In this order: what had started and runs no more has left how it ended, or never will.
        began = (folder / "started").exists() or time.monotonic() - born > _STARTING_S
        alive = _is_running(folder)
        if (folder / "ended").is_file():
            yield _ending(folder)
            return
        if began and not alive:
            yield {"lost": True}
            return
        yield None
        pause = min(pause * 1.5, 1.0)
        host, _, _ = select.select([side.taken], [], [], pause)
        if host and not side.taken.read(1):
            return  # the link is gone: whoever comes next follows on


def _tell(side: Side, journal: Path, offset: int, *, whole: bool) -> int:
    with journal.open("rb") as file:
        file.seek(offset)
        text = file.read()
    if whole:
        text = text[: text.rfind(b"\n") + 1]
    if text:
        side.say(journal=text.decode("utf-8", "replace"), end=offset + len(text))
    return offset + len(text)


def _ending(folder: Path) -> dict[str, object]:
    with (folder / "errors").open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _WORDS))
        words = file.read().decode("utf-8", "replace")
    files = {
        path.name: [path.stat().st_size, digest_of(path)]
        for path in sorted((folder / "out").iterdir())
        if path.is_file()
    }
    ended = json.loads((folder / "ended").read_text())
    return {"ended": ended, "words": words, "files": files}


def _detach(
    folder: Path, command: list[str], environment: Mapping[str, str], silent_s: float
) -> None:
    """Run the job in a session of its own that outlives this call."""
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(nothing, stream)
            _run(folder, command, environment, silent_s)
    finally:
        os._exit(0)


def _watch(process: subprocess.Popen[bytes], folder: Path, silent_s: float) -> None:
    """End an agent that says nothing for too long; look seldom, for times may be taken."""
    size, since = -1, time.monotonic()
    while process.poll() is None:
        time.sleep(min(5.0, silent_s / 4))
        now = (folder / "journal").stat().st_size
        if now != size:
            size, since = now, time.monotonic()
        elif time.monotonic() - since > silent_s:
            with (folder / "errors").open("ab") as errors:
                errors.write(b"\nit said nothing for %d s, and was ended" % silent_s)
            process.kill()
            return


def _run(folder: Path, command: list[str], environment: Mapping[str, str], silent_s: float) -> None:
    """Run the agent once, whoever else tries: the lock says that it runs, a file that it did."""
    with (folder / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if (folder / "started").exists():
            return
        _write(folder / "started", {"group": os.getpgrp()})
        with (folder / "journal").open("ab") as journal, (folder / "errors").open("ab") as errors:
            try:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=journal,
                    stderr=errors,
                    cwd=str(folder / "out"),
                    env=dict(environment),
                )
                watch = threading.Thread(target=_watch, args=(process, folder, silent_s))
                watch.daemon = True
                watch.start()
                code = process.wait()
            except OSError as error:
                errors.write(str(error).encode())
                code = 127
        _write(folder / "ended", {"returncode": code})


def fetch(side: Side) -> None:
    """Give files of a job from an offset on: a line each that says which, and then its bytes."""
    for name, offset in side.asked["files"].items():
        with (side.jobs / side.asked["job"] / "out" / name).open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(offset)
            side.say(name=name, bytes=size - offset)
            shutil.copyfileobj(file, side.given, CHUNK)
    side.say(given=True)


def close(side: Side) -> None:
    """End and forget the jobs of this measurement, and what has long not been used."""
    for name in side.asked["jobs"]:
        folder = side.jobs / name
        group = _group(folder)
        if group and _is_running(folder):
            os.killpg(group, signal.SIGKILL)
        shutil.rmtree(str(folder), ignore_errors=True)
    old = time.time() - side.asked["keep_days"] * _DAY_S
    left = side.asked["keep_bytes"]
    for file in sorted(side.files.iterdir(), key=lambda each: -each.stat().st_mtime):
        left -= file.stat().st_size
        if left < 0 or file.stat().st_mtime < old:
            file.unlink()
    for folder in (*side.jobs.iterdir(), *(side.work / "sites").iterdir()):
        if folder.stat().st_mtime < old and not _is_running(folder):
            shutil.rmtree(str(folder), ignore_errors=True)
    side.say(closed=True)


CALLS = {each.__name__: each for each in (hello, missing, receive, unpack, follow, fetch, close)}


def main(taken: BinaryIO, given: BinaryIO) -> int:
    """Do what the next line of input asks for."""
    os.umask(0o77)
    side = Side(json.loads(taken.readline()), taken, given)
    given.write((MARK + "\n").encode())
    given.flush()
    try:
        CALLS[side.asked["call"]](side)
    except OSError as error:
        if error.errno != errno.EPIPE:
            name = errno.errorcode.get(error.errno or 0, "")
            side.say(failed=name, words=str(error.strerror), file=str(error.filename or side.work))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, sys.stdout.buffer))
