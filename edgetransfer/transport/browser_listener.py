"""Hears out a page that does one job, and notices when nothing more will come.

It does not serve the page or start browsers.
"""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import StageError
from edgetransfer.spec.outside import printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgetransfer.spec.progress import Progress
    from edgetransfer.transport.browser_exchange import Exchange, Message
    from edgetransfer.transport.browser_job import Arrays


_MOST_WORDS = 1000


@dataclass(frozen=True)
class Patience:
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
    """Follows one job.

    Args:
        exchange: with the page; the job was offered there.
        arrays: takes the arrays that come back.
        progress: told of examples and blocks done.
        patience: how long to wait for what.
    """

    def __init__(
        self, exchange: Exchange, arrays: Arrays, progress: Progress, patience: Patience
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

        Args:
            what: the job's action.
            where: the place, for the error.
            ended: says how the browser ended, None while it runs or where nobody can know.

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
        elif event == "progress":
            done, total = message.get("done"), message.get("total")
            if type(done) is int and (total is None or type(total) is int):
                self._progress(done, total)
                self._last = f"{self._last.partition(',')[0]}, {done} of {total}"
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
