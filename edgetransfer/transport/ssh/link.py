"""Asks the device's side (`ssh.far`), and goes on where a lost link left off."""

from __future__ import annotations

import json
import math
import shlex
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from edgetransfer.errors import StageError
from edgetransfer.spec.outside import MIB, Kind, parsed, shortened
from edgetransfer.transport.outcome import last_words
from edgetransfer.transport.ssh import far
from edgetransfer.transport.ssh.client import LOST, LinkLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgetransfer.transport.ssh.client import Call, Client

T = TypeVar("T")
_ANSWER = Kind("answer of the device", 64 * MIB, StageError)
_HELD_S = 10.0
"""A link that held for so long was there."""


_FAR = Path(far.__file__).read_bytes()
_FAR_COMMAND = f"import sys;exec(compile(sys.stdin.buffer.read({len(_FAR)}),'edgetransfer','exec'))"


@dataclass(frozen=True)
class RetryPolicy:
    """How long a lost link is tried again, in seconds without anything new coming through."""

    longest_s: float = 180.0
    first_pause_s: float = 0.2
    last_pause_s: float = 10.0


class Answers:
    """What the device's side answers to one request: lines, and bytes between them."""

    def __init__(self, client: Client, call: Call) -> None:
        self._client = client
        self._call = call
        self.stdin = call.stdin
        self.stdout: IO[bytes] = call.stdout

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for line in self.stdout:
            if not line.endswith(b"\n"):
                break
            answer: Mapping[str, Any] = parsed(line, self._client.where, _ANSWER)
            if not isinstance(answer, dict):
                raise _ANSWER.unreadable(self._client.where, shortened(answer))
            if "failed" in answer:
                raise _failed(self._client, answer)
            yield answer

    def one(self) -> Mapping[str, Any]:
        """Return the next answer, of a request that has one.

        Raises:
            LinkLostError: there is none.
            StageError: the device's side failed.
        """
        for answer in self:
            return answer
        raise self.lost()

    def lost(self) -> Exception:
        """Return why there is no answer."""
        code, words = self._call.ended()
        if code in (LOST, 0) or code < 0:
            return LinkLostError(words)
        return StageError(
            "the device's side of edgetransfer failed",
            where=self._client.where,
            found=last_words(words),
        )


def _failed(client: Client, answer: Mapping[str, Any]) -> StageError:
    full = answer["failed"] in ("ENOSPC", "EDQUOT")
    return StageError(
        "no space left on the device" if full else "the device cannot read or write a file",
        where=client.where,
        found=f"{answer['file']}: {answer['words']}",
        fix="free some space there and run the same command again" if full else None,
    )


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
    def request(self, call: str, **asked: object) -> Iterator[Answers]:
        """Ask once.

        Raises:
            LinkLostError: the link ended before the answer.
        """
        head = json.dumps({"call": call, "work": self.work, **asked})
        with self.client.call(self._command) as process:
            with suppress(BrokenPipeError):
                process.stdin.write(_FAR + head.encode() + b"\n")
                process.stdin.flush()
            answers = Answers(self.client, process)
            mark = f"{far.MARK}\n".encode()
            if not any(line == mark for line in process.stdout):
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

        Raises:
            StageError: nothing new came through for as long as patience goes, or never will.
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
                if self.client.is_final(words):
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
