"""Runs the packed agent on a device that answers to ssh; each byte goes over the link once."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgetransfer.bundle.files import digest_of, digest_of_value
from edgetransfer.errors import EdgeTransferError, StageError
from edgetransfer.spec.base import is_name
from edgetransfer.spec.outside import shortened
from edgetransfer.transport import wheels
from edgetransfer.transport.job import Job, patience_s, plain, written_files
from edgetransfer.transport.local import ALWAYS, KEPT, KEPT_FAMILIES
from edgetransfer.transport.outcome import Transcript, unfinished
from edgetransfer.transport.place import AS_IT_IS, Place, Software
from edgetransfer.transport.ssh import board as ssh_board
from edgetransfer.transport.ssh.link import ANSWER, Client, Link, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from edgetransfer.spec.progress import Progress


@dataclass(frozen=True)
class StagedFile:
    """A file of this machine that is to lie on the device, named by its SHA-256 and its ending."""

    name: str
    path: Path
    size: int


@dataclass
class Staging:
    """The files of one device's jobs, as they are asked for, and the device's folder for them."""

    folder: str
    _named: dict[tuple[str, int, int], StagedFile] = field(default_factory=dict)
    _settled: set[str] = field(default_factory=set)
    _wanted: dict[str, StagedFile] = field(default_factory=dict)

    def put(self, path: str) -> str:
        """Ask for a file of this machine, and return what it is called on the device."""
        staged = self.staged(Path(path))
        if staged.name not in self._settled:
            self._wanted[staged.name] = staged
        return f"{self.folder}/{staged.name}"

    def staged(self, path: Path) -> StagedFile:
        """Return a file with its digest, taken once while the file stays as it is."""
        state = path.stat()
        key = str(path), state.st_size, state.st_mtime_ns
        if key not in self._named:
            self._named[key] = StagedFile(digest_of(path) + path.suffix, path, state.st_size)
        return self._named[key]

    def wanted(self) -> tuple[StagedFile, ...]:
        """Return what was asked for and is not known to be there."""
        return tuple(self._wanted.values())

    def settle(self, names: set[str]) -> None:
        """Note that files are on the device, whole."""
        self._settled |= names
        for name in names:
            self._wanted.pop(name, None)


_CHUNK = 1 << 16
_TRIES = 3
"""How often a file may arrive changed."""
Files = dict[str, tuple[int, str]]
"""Size and SHA-256 of what a job wrote, by name."""


def push(link: Link, staging: Staging) -> None:
    """Bring every file that was asked for to the device; a part that is there is not sent again.

    StageError where there is no room, or a file arrives changed again and again.
    """
    for _ in range(_TRIES):
        wrong = link.persistently(lambda: _push_once(link, staging))
        if not wrong:
            return
    raise _changed(link, "pushed", wrong)


def _push_once(link: Link, staging: Staging) -> list[str]:
    files = {each.name: each for each in staging.wanted()}
    if not files:
        return []
    with link.request("missing", files={name: each.size for name, each in files.items()}) as asked:
        answer = asked.one()
    held: dict[str, int] = answer["held"]
    if any(name not in files or there > files[name].size for name, there in held.items()):
        raise ANSWER.unreadable(link.client.where, f"files that were not named: {shortened(held)}")
    staging.settle(set(files) - set(held))
    left = sum(files[name].size - there for name, there in held.items())
    link.came_closer(left)
    if left > answer["free"]:
        raise StageError(
            "no space left on the device",
            where=link.client.where,
            found=f"{answer['free'] / 2**20:.0f} MiB free for {staging.folder}",
            expected=f"{left / 2**20:.0f} MiB",
            fix="free some space there and run the same command again",
        )
    if not held:
        return []
    with link.request("receive") as asked:
        with suppress(BrokenPipeError):
            _send(asked.stdin, [(files[name], there) for name, there in held.items()])
        wrong: list[str] = asked.one()["wrong"]
    staging.settle(set(held) - set(wrong))
    return wrong


def _send(stream: IO[bytes], parts: Iterable[tuple[StagedFile, int]]) -> None:
    for staged, offset in parts:
        frame = f'{{"name": "{staged.name}", "offset": {offset}, "bytes": {staged.size - offset}}}'
        stream.write(frame.encode() + b"\n")
        with staged.path.open("rb") as file:
            file.seek(offset)
            shutil.copyfileobj(file, stream, _CHUNK)
    stream.write(b"\n")
    stream.flush()


def follow(
    link: Link, job: Job, start: Mapping[str, object], progress: Progress
) -> tuple[Mapping[str, Any], Files]:
    """Start a job as `far.follow` is told to, hear it out; return its result and what it wrote.

    StageError where the agent ended without a result, or was lost, or another measurement runs.
    """
    heard = Transcript(progress)
    offset = 0

    def attempt() -> Mapping[str, Any]:
        nonlocal offset
        with link.request("follow", **start, offset=offset) as answers:
            for answer in answers:
                link.moved()
                if "journal" not in answer:
                    return answer
                for line in answer["journal"].splitlines():
                    heard.line(line)
                offset = answer["end"]
            raise answers.lost()

    answer = link.persistently(attempt)
    if "busy" in answer:
        raise StageError(
            "another measurement runs on the device",
            where=link.client.where,
            found=f"process group {answer['busy']}",
            fix=f"wait until it ends, or end it there: kill -- -{answer['busy']}",
        )
    if "lost" in answer:
        raise StageError(
            "the job is gone from the device",
            where=link.client.where,
            found="it neither runs nor left how it ended",
            fix="did the device restart, run out of memory, or end all processes at log-out "
            "(KillUserProcesses of systemd-logind)?",
        )
    returncode = answer["ended"]["returncode"]
    if returncode != 0 or heard.result is None:
        raise unfinished(job, returncode, answer["words"])
    return heard.result, answer["files"]


def fetch(link: Link, job: str, files: Files, asked: Mapping[str, int], out: Path) -> None:
    """Bring what a job wrote into `out`; a part that is here is not fetched again.

    Files that were not `asked` for are left there. StageError for a name that leads elsewhere, more
    bytes than were asked, or a file that arrives changed again and again.
    """
    wanted = _taken(link, files, asked)
    for _ in range(_TRIES):
        link.persistently(lambda: _fetch_once(link, job, wanted, out))
        for name, (_size, digest) in dict(wanted).items():
            part = _part(out, name)
            if digest_of(part) == digest:
                part.replace(out / name)
                del wanted[name]
            else:
                part.unlink()
        if not wanted:
            return
    raise _changed(link, "fetched", list(wanted))


def _taken(link: Link, files: Files, asked: Mapping[str, int]) -> Files:
    foreign = [name for name in files if not is_name(name)]
    if foreign:
        raise StageError(
            "the device names a file that is none of the job's",
            where=link.client.where,
            found=", ".join(foreign),
        )
    taken = {name: told for name, told in files.items() if name in asked}
    for name, (size, _) in taken.items():
        if not 0 <= size <= asked[name]:
            raise StageError(
                "the device gives a file of a size that the job cannot have written",
                where=link.client.where,
                found=f"{name}: {size:,} bytes",
                expected=f"at most {asked[name]:,}",
            )
    return taken


def _part(out: Path, name: str) -> Path:
    return out / f".{name}.part"


def _fetch_once(link: Link, job: str, wanted: Files, out: Path) -> None:
    left = {}
    for name, (size, _) in wanted.items():
        part = _part(out, name)
        part.touch()
        if part.stat().st_size < size:
            left[name] = part.stat().st_size
    if not left:
        return
    with link.request("fetch", job=job, files=left) as answers:
        for answer in answers:
            if "given" in answer:
                return
            name, missing = answer["name"], answer["bytes"]
            if name not in left or missing > wanted[name][0]:
                raise answers.lost()
            with _part(out, name).open("ab") as file:
                while missing and (block := answers.stdout.read(min(missing, _CHUNK))):
                    file.write(block)
                    missing -= len(block)
                    link.moved()
        raise answers.lost()


def _changed(link: Link, how: str, names: list[str]) -> StageError:
    return StageError(
        f"a file arrives changed each time it is {how}",
        where=link.client.where,
        found=", ".join(names),
        fix=f"see to the {'device' if how == 'pushed' else 'disk'}: memory or storage is faulty",
    )


PATIENCE = RetryPolicy()
KEEP_DAYS = 30
KEEP_BYTES = 2 << 30
"""What stays in the device's work folder, so that the next measurement need not push it again."""
_GOODBYE = RetryPolicy(longest_s=5.0)


@dataclass
class Ssh(Place):
    """A device, as a place."""

    where: str
    link: Link
    agent: Path
    python: str
    environment: Mapping[str, str]
    jobs: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.staging = Staging(f"{self.link.work}/files")

    def do(self, job: Job, out: Path, progress: Progress) -> Mapping[str, Any]:
        """Push what is not there, run the job, fetch what it wrote."""
        name = uuid.uuid4().hex
        folder = f"{self.link.work}/jobs/{name}"
        agent = self.staging.put(str(self.agent))
        start = {
            "job": name,
            "told": plain(job, f"{folder}/out", self.staging.put),
            "command": (self.python, agent, f"{folder}/job.json"),
            "environment": self.environment,
            "silent_s": patience_s(job),
            "kept": sorted(KEPT),
            "kept_families": KEPT_FAMILIES,
        }
        push(self.link, self.staging)
        self.jobs.append(name)
        result, files = follow(self.link, job, start, progress)
        fetch(self.link, name, files, written_files(job), out)
        return result

    def close(self) -> None:
        """Take away what the jobs left there, and end those that still run."""
        farewell = Link(self.link.client, self.python, _GOODBYE)
        farewell.work = self.link.work
        farewell.ask("close", jobs=self.jobs, keep_days=KEEP_DAYS, keep_bytes=KEEP_BYTES)


@contextmanager
def connect(address: str, agent: Path, software: Software = AS_IT_IS) -> Iterator[Ssh]:
    """Connect to what `ssh` takes, or ``USER@HOST:PORT``."""
    sockets = Path(tempfile.mkdtemp(prefix="et-", dir="/tmp"))  # a socket's path has to be short
    client = Client(address, sockets)
    try:
        board = ssh_board.look(client, software.python)
        if not board.complete and (software.wheels is None or board.wanted.obstacle()):
            raise ssh_board.lacking(client, board)
        link = Link(client, board.python, PATIENCE)
        link.work = link.ask("hello")["work"]
        place = Ssh(client.where, link, agent, board.python, ALWAYS)
        if software.wheels is not None:
            place.environment = _bring(place, board, software.wheels)
        try:
            yield place
        finally:
            with suppress(EdgeTransferError):
                place.close()
    finally:
        client.close()
        shutil.rmtree(sockets, ignore_errors=True)


def _bring(place: Ssh, board: ssh_board.Board, folder: Path) -> Mapping[str, str]:
    """Push wheels and unpack them beside the files; return the environment that has them."""
    client = place.link.client
    found = [place.staging.staged(path) for path in wheels.fitting(folder, board.wanted)]
    for each in found:
        place.staging.put(str(each.path))
    push(place.link, place.staging)
    names = [each.name for each in found]
    site = place.link.ask("unpack", wheels=names, site=digest_of_value(names))["site"]
    brought = ssh_board.look(client, board.python, site)
    if not brought.complete:
        raise ssh_board.lacking(client, brought)
    return {**ALWAYS, "PYTHONPATH": site}
