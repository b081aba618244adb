"""Reads what an agent said and how it ended, wherever it ran.

It does not start agents.
"""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.spec.progress import Progress
    from edgetransfer.transport.job import Job

_STDERR_LINES = 8
_SHELL_SIGNAL = 128
"""A shell gives 128 plus the number of the signal that ended a command."""


def ending(returncode: int) -> str:
    """Say how a process ended, by its return code as Python or a shell has it.

    >>> ending(-11), ending(139), ending(3)
    ('killed by SIGSEGV', 'killed by SIGSEGV', 'exit code 3')
    """
    number = -returncode if returncode < 0 else returncode - _SHELL_SIGNAL
    try:
        return f"killed by {signal.Signals(number).name}"
    except ValueError:
        return f"killed by signal {number}" if returncode < 0 else f"exit code {returncode}"


def last_words(text: str) -> str:
    """Return the last lines of what a program complained of."""
    return "\n".join(text.strip().splitlines()[-_STDERR_LINES:])


def unfinished(job: Job, returncode: int, stderr: str) -> StageError:
    """Return the error of an agent that ended without a result."""
    ended = ending(returncode) if returncode else "exit code 0, but no result"
    return StageError(
        f"the agent did not finish the job {job.action!r}",
        where=", ".join(variant.model for variant in job.variants) or "agent",
        found=f"{ended}. {last_words(stderr)}".strip(),
    )


class Heard:
    """The agent's lines, as they come: tells of progress, and keeps the result."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.result: Mapping[str, Any] | None = None

    def line(self, line: str) -> None:
        """Take one line; what a library printed, or a crash cut short, says nothing."""
        try:
            message = json.loads(line)
        except ValueError:
            return
        event = message.get("event") if isinstance(message, dict) else None
        if event == "progress":
            self._progress(message["done"], message["total"])
        elif event == "result":
            self.result = message
