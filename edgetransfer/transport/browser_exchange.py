"""What the host and a page in a browser say to each other: jobs one way, messages the other.

It does not know HTTP; the server carries it.
"""

from __future__ import annotations

import queue
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.agent.examples import Examples

Message = dict[str, Any]

_LAST = frozenset({"result", "error", "closed"})
"""Events after which a page has nothing more to say of an errand."""


@dataclass(frozen=True)
class Errand:
    """One job in the form that the page takes.

    Attributes:
        told: the JSON that the page reads.
        models: bytes or files, by the numbers that the page asks for them by.
        examples: of each model, by the same numbers.
        arrays: names of the arrays that may come back, and how many bytes each may have.
    """

    told: Mapping[str, Any]
    models: tuple[bytes | Path, ...] = ()
    examples: tuple[Examples, ...] = ()
    arrays: Mapping[str, int] = field(default_factory=dict)
    number: str = field(default_factory=lambda: secrets.token_hex(4))


class Exchange:
    """One page at a time gets one errand at a time; what it says waits in a queue.

    The page that comes first is the one; any other is turned away until `free`.
    """

    def __init__(self) -> None:
        self._turn = threading.Condition()
        self._visitor: str | None = None
        self._closed = self._told_end = False
        self.errand: Errand | None = None
        self.messages: queue.Queue[Message] = queue.Queue()
        self.heard_at = time.monotonic()

    def free(self) -> None:
        """Let another page come: the one before is gone."""
        with self._turn:
            self._visitor = None
            self._turn.notify_all()

    def admits(self, visitor: str) -> bool:
        """Tell whether this is the page that is measured; the first to ask is."""
        with self._turn:
            if self._visitor is None and visitor:
                self._visitor = visitor
                self._turn.notify_all()
            if self._visitor != visitor:
                return False
            self.heard_at = time.monotonic()
            return True

    def await_visitor(self, timeout_s: float) -> bool:
        """Wait until a page has come; return whether one has."""
        with self._turn:
            return self._turn.wait_for(lambda: self._visitor is not None, timeout_s)

    def offer(self, errand: Errand) -> None:
        """Give the page something to do."""
        with self._turn:
            self.errand = errand
            self.messages = queue.Queue()
            self.heard_at = time.monotonic()
            self._turn.notify_all()

    def withdraw(self) -> None:
        """Take the errand back: nothing of it is served any more."""
        with self._turn:
            self.errand = None

    def close(self, timeout_s: float) -> None:
        """Tell the page, if one is there, that there is nothing more to do: wait until it asks."""
        with self._turn:
            self._closed = True
            self.errand = None
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._told_end or self._visitor is None, timeout_s)

    def take(self, visitor: str, timeout_s: float) -> Mapping[str, Any] | None:
        """Return the next errand for the page, None where there is none yet.

        A page that asks has nothing to do: where it was given this errand before, that answer got
        lost on the way, and it is given again. A page that is gone may still seem to wait here.
        """

        def settled() -> bool:
            return self._closed or self._visitor != visitor or self.errand is not None

        with self._turn:
            self._turn.wait_for(settled, timeout_s)
            if self._closed:
                self._told_end = True
                self._turn.notify_all()
                return {"action": "end"}
            if self.errand is None or self._visitor != visitor:
                return None
            return {**self.errand.told, "number": self.errand.number}

    def current(self, number: str) -> Errand | None:
        """Return the errand of that number, where it is still wanted."""
        errand = self.errand
        return errand if errand is not None and errand.number == number else None

    def hear(self, number: str, message: Message) -> None:
        """Keep what the page says of an errand that is still wanted; its last word ends that."""
        with self._turn:
            if self.current(number) is None:
                return
            self.messages.put(message)
            if message.get("event") in _LAST:
                self.errand = None
