"""What the host and a page in a browser say to each other: jobs one way, messages the other."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import StageError
from edgetransfer.spec.outside import printable
from edgetransfer.transport.outcome import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgetransfer.spec.progress import Progress
    from edgetransfer.transport.browser.job import Arrays, Errand


_MOST_WORDS = 1000


@dataclass(frozen=True)
class PageTimeouts:
    """How long silence is no failure, in seconds.

    Attributes:
        silent_s: the page says every two seconds that it is there.
        step_s: within one step, as one inference or the loading of a model.
        opened_s: until somebody opens the address.
    """

    silent_s: float = 60.0
    step_s: float = 600.0
    opened_s: float = 900.0


class Listener:
    """Follows one job that was offered to a page, and takes the arrays that come back."""

    def __init__(
        self, exchange: Exchange, arrays: Arrays, progress: Progress, patience: PageTimeouts
    ) -> None:
        self._exchange = exchange
        self._arrays = arrays
        self._progress = progress
        self._patience = patience
        self._last = "nothing"
        self._moved_at = time.monotonic()
        self.hidden = False

    def follow(self, what: str, where: str, ended: Callable[[], str | None]) -> Message:
        """Return the fields of the page's result.

        Raises:
            StageError: there will be no result; what was seen last is told.
        """
        try:
            while True:
                message = self._next()
                if message.get("event") == "result":
                    return self._result(message)
                cause = self._hear(message) or ended() or self._stalled()
                if cause is not None:
                    raise StageError(
                        f"the browser did not finish the job {what!r}",
                        where=where,
                        found=f"{cause}; last seen: {self._last}",
                    )
        finally:
            self._exchange.withdraw()

    def _next(self) -> Message:
        try:
            return self._exchange.messages.get(timeout=0.5)
        except queue.Empty:
            return {}

    def _hear(self, message: Message) -> str | None:
        """Take a message; return the cause where it says that the job has failed."""
        self.hidden |= bool(message.get("hidden"))
        event = message.get("event")
        if event not in (None, "alive"):
            self._moved_at = time.monotonic()
        if event == "error":
            return said(message)
        if event == "closed":
            return "the page was closed or left"
        if event == "array":
            self._arrays.take(message["name"], message["array"])
        elif event == "step":
            self._last = said(message)
        elif event == "progress" and told(self._progress, message):
            of = f"{message['done']} of {message.get('total')}"
            self._last = f"{self._last.partition(',')[0]}, {of}"
        return None

    def _stalled(self) -> str | None:
        now = time.monotonic()
        if now - self._exchange.heard_at > self._patience.silent_s:
            return f"the page has said nothing for {self._patience.silent_s:g} s"
        if now - self._moved_at > self._patience.step_s:
            return f"the page is there, but nothing has moved for {self._patience.step_s:g} s"
        return None

    def _result(self, message: Message) -> dict[str, Any]:
        self.hidden |= bool(message.pop("hidden", False))
        del message["event"]
        if self._arrays.digests:
            message["logits"] = self._arrays.digests
        turns = message.get("turns")
        if self.hidden and isinstance(turns, list):  # browsers slow down a page that nobody sees
            for turn in turns:
                if isinstance(turn, dict) and isinstance(turn.setdefault("marks", []), list):
                    turn["marks"].append("page in the background")
        return message


def said(message: Message) -> str:
    """Return a page's own words, as they can be shown."""
    return printable(str(message.get("text")))[:_MOST_WORDS]


Message = dict[str, Any]
_LAST = frozenset({"result", "error", "closed"})
"""Events after which a page has nothing more to say of an errand."""


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
