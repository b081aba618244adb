"""The way to a device by the OpenSSH of the system; a lost link goes on where it left off."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, Field

from edgetransfer.errors import EdgeTransferError, SpecError, StageError
from edgetransfer.spec.outside import MIB, Kind, parsed, shortened, validated
from edgetransfer.transport.outcome import last_words, ran
from edgetransfer.transport.ssh import far

T = TypeVar("T")
ANSWER = Kind("answer of the device", 64 * MIB, StageError)
_HELD_S = 10.0
"""A link that held for so long was there."""
_FAR = Path(far.__file__).read_bytes()
_FAR_COMMAND = f"import sys;exec(compile(sys.stdin.buffer.read({len(_FAR)}),'edgetransfer','exec'))"
COMMAND = "EDGETRANSFER_SSH"
"""Variable with another ssh command, as a shell would split it: ``ssh -F other_config``."""
LOST = 255
"""What ssh returns where it is not the remote command that ended."""
_ALWAYS = (
    "BatchMode=yes",  # nobody answers a question
    "LogLevel=ERROR",
    "RequestTTY=no",
    "RemoteCommand=none",  # the user's may name a shell for himself
    "ClearAllForwardings=yes",  # a port that the user's own session holds
)
_UNLESS_SET = {
    "connecttimeout": ("none", "ConnectTimeout=10"),
    "serveraliveinterval": ("0", "ServerAliveInterval=15"),
}
"""Options by their name in ``ssh -G``: what it says where the user has no wish, and ours."""


class _Complaint(NamedTuple):
    """What ssh says, what that means, what to do, and whether trying again is of no use."""

    says: str
    what: str
    fix: str
    final: bool = False


_COMPLAINTS = (
    _Complaint(
        "IDENTIFICATION HAS CHANGED",
        "the device shows another host key than the one that is known",
        "if the device was set up anew, forget the old key: {forget}\n"
        "then log in once and compare the new one: {login}",
        final=True,
    ),
    _Complaint(
        "Host key verification failed",
        "the device's host key is not known yet",
        "log in once, compare the fingerprint, and say yes: {login}",
        final=True,
    ),
    _Complaint(
        "Permission denied (",
        "the device refuses the login",
        "give it a key that needs no password: {copy}\nor load one that has a pass phrase: ssh-add",
        final=True,
    ),
    _Complaint(
        "Could not resolve hostname",
        "no host of this name is known",
        "see the spelling, the network, and Host in ~/.ssh/config",
    ),
    _Complaint(
        "Connection refused",
        "the device is there, and no ssh server answers",
        "start one there (sudo systemctl enable --now ssh), or name its port: ssh:HOST:PORT",
    ),
    _Complaint(
        "onfiguration option",
        "ssh cannot read its configuration",
        "fix the line it names",
        final=True,
    ),
    _Complaint(
        "Bad owner or permissions",
        "ssh does not trust its configuration",
        "chmod 600 the file it names",
        final=True,
    ),
)
_NOANSWER = _Complaint(
    "", "the device does not answer", "see that it is switched on and in this network: {login}"
)


Size = Annotated[int, Field(ge=0)]


class _Ended(BaseModel):
    returncode: int


class _Fields(BaseModel):
    """What `far` says: some of these in each of its answers."""

    bytes: Size = 0
    busy: int | None = None
    closed: bool = True
    end: Size = 0
    ended: _Ended = _Ended(returncode=0)
    failed: str = ""
    file: str = ""
    files: dict[str, tuple[Size, str]] = {}
    free: Size = 0
    given: bool = True
    held: dict[str, Size] = {}
    journal: str = ""
    lost: bool = True
    name: str = ""
    site: str = ""
    words: str = ""
    work: str = ""
    wrong: list[str] = []


class Answer(dict[str, Any]):
    """The fields of one answer; asking for one that is not there is the device's fault."""

    def __init__(self, line: bytes, where: str) -> None:
        fields = validated(_Fields, parsed(line, where, ANSWER), where, ANSWER)
        super().__init__(fields.model_dump(exclude_unset=True))
        self._where = where

    def __missing__(self, name: str) -> object:
        raise ANSWER.unreadable(self._where, f"no {name!r} in {shortened(dict(self))}")


class LinkLostError(Exception):
    """The link ended before the answer did; the words are ssh's."""


class Call:
    """One command that runs on the device, its streams, and what the device's side answers."""

    def __init__(self, where: str, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        assert process.stdin is not None  # PIPE
        assert process.stdout is not None  # PIPE
        self.stdin: IO[bytes] = process.stdin
        self.stdout: IO[bytes] = process.stdout
        self._where, self._process, self._errors = where, process, errors

    def ended(self) -> tuple[int, str]:
        """Wait for the end; return the return code and what was complained of."""
        code = self._process.wait()
        self._errors.seek(0)
        return code, self._errors.read().decode("utf-8", "replace")

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for line in self.stdout:
            if not line.endswith(b"\n"):
                break
            answer = Answer(line, self._where)
            if "failed" in answer:
                full = answer["failed"] in ("ENOSPC", "EDQUOT")
                raise StageError(
                    "no space left on the device"
                    if full
                    else "the device cannot read or write a file",
                    where=self._where,
                    found=f"{answer['file']}: {answer['words']}",
                    fix="free some space there and run the same command again" if full else None,
                )
            yield answer

    def one(self) -> Mapping[str, Any]:
        """Return the next answer; LinkLostError where there is none, StageError of the far side."""
        for answer in self:
            return answer
        raise self.lost()

    def lost(self) -> Exception:
        """Return why there is no answer."""
        code, words = self.ended()
        if code in (LOST, 0) or code < 0:
            return LinkLostError(words)
        return StageError(
            "the device's side of edgetransfer failed", where=self._where, found=last_words(words)
        )


class Client:
    """The way to one host; the private folder takes the socket that all calls share.

    SpecError for no host, StageError where ssh is not there or cannot read its configuration.
    """

    def __init__(self, address: str, folder: Path) -> None:
        self.where = f"ssh:{address}"
        self._target = target(address)
        self._command = shlex.split(os.environ.get(COMMAND) or "ssh")
        self._options: list[str] = []
        self.socket = folder / "s"
        options = list(_ALWAYS)
        told = self._run(["-G", *self._target])
        wishes = dict(line.partition(" ")[::2] for line in told.splitlines())
        options += [o for key, (unset, o) in _UNLESS_SET.items() if wishes.get(key) == unset]
        self._shared = wishes.get("controlpath", "none") != "none"
        if not self._shared:
            options += ["ControlMaster=auto", "ControlPersist=60", f"ControlPath={self.socket}"]
        self._options = [word for option in options for word in ("-o", option)]

    def _run(self, words: list[str]) -> str:
        try:
            return ran([*self._command, *words], self.complaint)
        except FileNotFoundError as error:
            raise StageError(
                "the program ssh is not installed",
                where=self.where,
                found=str(error.filename),
                fix="sudo apt install openssh-client",
            ) from error

    @contextmanager
    def call(self, command: str) -> Iterator[Call]:
        """Run a command on the device; it is ended when the block ends.

        The session of its own keeps the keyboard's Ctrl-C from ssh, so that the device can still be
        told to stop. Errors go to a file: the master in the background would keep a pipe open.
        """
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                [*self._command, *self._options, "-T", *self._target, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
                bufsize=1 << 16,
            ) as process,
        ):
            try:
                yield Call(self.where, process, errors)
            finally:
                process.kill()
                for stream in (process.stdin, process.stdout):
                    assert stream is not None  # PIPE
                    with suppress(BrokenPipeError):
                        stream.close()

    def complaint(self, found: str) -> EdgeTransferError:
        """Return the error for what ssh says."""
        said = next((each for each in _COMPLAINTS if each.says in found), _NOANSWER)
        login = shlex.join([*self._command, *self._target])
        program, *options = self._command
        copy = [str(Path(program).with_name("ssh-copy-id")), *options, *self._target]
        forget = re.search(r"ssh-keygen -f .*", found)
        return StageError(
            said.what,
            where=self.where,
            found=last_words(found),
            fix=said.fix.format(
                login=login,
                copy=shlex.join(copy),
                forget=forget[0].strip() if forget else "ssh-keygen -R HOST",
            ),
        )

    def close(self) -> None:
        """End the shared connection, unless it is the user's own."""
        if not self._shared and self.socket.exists():
            with suppress(EdgeTransferError):
                self._run([*self._options, "-O", "exit", *self._target])


def target(address: str) -> list[str]:
    """Return the words that name a host to ssh; SpecError for what is no host.

    >>> target("pi"), target("pi@10.0.0.7:2222"), target("[fe80::1]:22"), target("fe80::1")
    (['pi'], ['-p', '2222', 'pi@10.0.0.7'], ['-p', '22', 'fe80::1'], ['fe80::1'])
    """
    host, port = address.removeprefix("//"), None
    if found := re.fullmatch(r"(?P<host>[^:]+|(?:[^@]*@)?\[.+\]):(?P<port>\d+)", host):
        host, port = found["host"], found["port"]
    host = host.replace("[", "").replace("]", "")
    if not re.fullmatch(r"[^\s-]\S*", host):
        raise SpecError(
            "ssh needs a host",
            where="--on",
            found=repr(f"ssh:{address}"),
            expected="ssh:HOST, ssh:USER@HOST, ssh:USER@HOST:PORT, or a Host of ~/.ssh/config",
        )
    return [*(["-p", port] if port else []), host]


@dataclass(frozen=True)
class RetryPolicy:
    """How long a lost link is tried again, in seconds without anything new coming through."""

    longest_s: float = 180.0
    first_pause_s: float = 0.2
    last_pause_s: float = 10.0


class Link:
    """Requests to one device, each repeated until it is answered."""

    def __init__(self, client: Client, python: str, patience: RetryPolicy) -> None:
        self.client = client
        self.work = ""
        self.lost = 0
        self._reached = math.inf
        self._command = f"exec {shlex.quote(python)} -I -c {shlex.quote(_FAR_COMMAND)}"
        self._patience = patience
        self.moved()

    def moved(self) -> None:
        """Note that something new came through: patience begins again."""
        self._since = time.monotonic()
        self._left: float = math.inf
        self._pause = self._patience.first_pause_s

    def came_closer(self, left: float) -> None:
        """Note how much is left to do: if it is less than before, something came through."""
        if left < self._left:
            self.moved()
            self._left = left

    @contextmanager
    def request(self, call: str, **asked: object) -> Iterator[Call]:
        """Ask once; LinkLostError where the link ends before the answer."""
        head = json.dumps({"call": call, "work": self.work, **asked})
        with self.client.call(self._command) as answers:
            with suppress(BrokenPipeError):
                answers.stdin.write(_FAR + head.encode() + b"\n")
                answers.stdin.flush()
            mark = f"{far.MARK}\n".encode()
            if not any(line == mark for line in answers.stdout):
                raise answers.lost()
            self._reached = time.monotonic()
            yield answers

    def ask(self, call: str, **asked: object) -> Mapping[str, Any]:
        """Ask for what may be asked twice and has one answer, until it comes."""

        def once() -> Mapping[str, Any]:
            with self.request(call, **asked) as answers:
                return answers.one()

        return self.persistently(once)

    def persistently(self, attempt: Callable[[], T]) -> T:
        """Repeat an attempt while the link is what ends it.

        StageError where nothing new came through for as long as patience goes, or never will.
        """
        self.moved()
        while True:
            self._reached = math.inf
            try:
                return attempt()
            except LinkLostError as lost:
                self.lost += 1
                words = last_words(str(lost))
                if time.monotonic() - self._reached > _HELD_S:
                    self.moved()  # a job that says nothing for long goes on all the same
                if any(each.final and each.says in words for each in _COMPLAINTS):
                    raise self.client.complaint(words) from lost
                waited = time.monotonic() - self._since
                if waited + self._pause > self._patience.longest_s:
                    raise StageError(
                        "the link is lost and does not come back",
                        where=self.client.where,
                        found=f"nothing came through for {waited:.0f} s. {words}".strip(),
                        fix="run the same command again when the device answers: files that were "
                        "pushed stay there, and measuring starts anew",
                    ) from lost
                time.sleep(self._pause)
                self._pause = min(2 * self._pause, self._patience.last_pause_s)
