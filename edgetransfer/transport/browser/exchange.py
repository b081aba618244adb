"""What the host and a page in a browser say to each other: jobs one way, messages the other."""

from __future__ import annotations

import queue
import random
import secrets
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.agent.benchmark import CYCLED
from edgetransfer.agent.environment import PROTOCOL
from edgetransfer.agent.examples import ExampleFiles, spread
from edgetransfer.agent.outputs import MOST_OUTPUTS, Outputs
from edgetransfer.agent.timing import NULL_MODEL
from edgetransfer.errors import StageError
from edgetransfer.spec.outside import printable
from edgetransfer.transport.browser.runtime import FILES, Engine
from edgetransfer.transport.job import Job, written_files
from edgetransfer.transport.outcome import told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgetransfer.spec.progress import Progress

_MOST_WORDS = 1000


@dataclass(frozen=True)
class PageTimeouts:
    """How long silence is no failure, in seconds.

    The page says every two seconds that it is there; a step is one inference, or the loading of a
    model; `opened_s` is until somebody opens the address.
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
        """Return the fields of the page's result; a StageError says what was seen last."""
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
        if digests := self._arrays.digests():
            message["outputs"] = digests
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


_CHECKS = (".before", ".after")
"""Ends of the names of the first outputs of a timed session, from before and after its timing."""


@dataclass(frozen=True)
class Errand:
    """One job in the form that the page takes: `told` is the JSON that it reads.

    It asks for models, and for the examples of each, by their numbers; `arrays` names those that
    may come back, and how many bytes each may have.
    """

    told: Mapping[str, Any]
    models: tuple[bytes | Path, ...] = ()
    examples: tuple[ExampleFiles, ...] = ()
    arrays: Mapping[str, int] = field(default_factory=dict)
    number: str = field(default_factory=lambda: secrets.token_hex(4))

    @classmethod
    def of(cls, job: Job, engine: Engine) -> Errand:
        """Return a job as the page does it.

        The order of the blocks is drawn here as the agent draws it, by the job's seed.
        """
        module, _, binary = FILES[engine]
        examples = tuple(ExampleFiles(dict(each.inputs)) for each in job.variants)
        names = [each.name for each in job.variants]
        draw = random.Random(job.seed)
        told = {
            "action": job.action,
            "engine": {
                "module": module,
                "binary": binary,
                "provider": engine,
                "threads": max((each.threads for each in job.variants), default=1),
            },
            "variants": [
                {
                    "name": variant.name,
                    "inputs": list(held[0]),
                    "config": dict(variant.config),
                    "count": len(held),
                    "chosen": spread(len(held), CYCLED),
                }
                for variant, held in zip(job.variants, examples, strict=True)
            ],
            "plan": asdict(job.plan),
            "guard": asdict(job.guard),
            "order": [draw.sample(sorted(names), len(names)) for _ in range(job.plan.blocks)],
        }
        checks = [f"{part}.{place}" for part in _CHECKS for place in range(MOST_OUTPUTS)]
        arrays = {
            PurePath(name).stem + part: most
            for name, most in written_files(job).items()
            for part in ("", *(checks if job.action == "time" else ()))
        }
        models: tuple[bytes | Path, ...] = tuple(Path(each.model) for each in job.variants)
        return cls(told, (*models, NULL_MODEL), examples, arrays)


class Arrays:
    """Takes the arrays of one job, and writes those that the agent would have written.

    A browser tells wall time in ms and no CPU time, which is written as 0.
    """

    def __init__(self, action: str, out: Path) -> None:
        self._action = action
        self._out = out
        self._checks: dict[tuple[str, str], dict[str, NDArray[Any]]] = {}

    def digests(self) -> dict[str, list[str]]:
        """Return those of the outputs that timed sessions gave, see `Outputs.digest`."""
        found: dict[str, list[str]] = {}
        for (variant, _), given in self._checks.items():
            found.setdefault(variant, []).append(Outputs(given).digest())
        return found

    def take(self, name: str, array: NDArray[Any]) -> None:
        """Take one array that came back."""
        variant, *check = name.rsplit(".", 2)
        if len(check) == 2 and f".{check[0]}" in _CHECKS and self._action == "time":
            self._checks.setdefault((variant, check[0]), {})[check[1]] = array
            return
        if self._action == "time":
            block, wall_ms = array.T
            columns = [block, np.round(wall_ms * 1e6), np.zeros_like(block)]
            np.save(self._out / f"{name}.npy", np.stack(columns, axis=1).astype(np.int64))
        else:
            np.save(self._out / f"{name}.npy", array.astype(np.float32))


def environment(facts: Mapping[str, Any], engine: Engine, version: str) -> dict[str, Any]:
    """Return what the page told of itself under the names that the agent uses."""
    known = dict(facts)
    memory, model = known.pop("memory_gib_rounded"), known.pop("model")
    return {
        "protocol": PROTOCOL,
        "cpu": model or None,
        "arch": "wasm32" if engine == "wasm" else engine,
        "device_arch": known.pop("architecture"),
        "isa": sorted(f"wasm_{each}" for each in known.pop("wasm")),
        "cores": known.pop("cores"),
        "memory_mib": None if memory is None else int(memory * 1024),
        "os": known.pop("platform"),
        "os_family": "browser",
        "identity": [model] if model else [],
        "providers": [engine],
        "runtime": f"onnxruntime-web {version}, {engine}",
        **known,
    }


def warnings(facts: Mapping[str, Any], seen: Mapping[str, Any]) -> list[str]:
    """Say what about a page may disturb or blur a timing.

    Facts are those of `describe`; seen of the jobs done are threads "asked" and "used",
    "calls_per_sample" by variant, and whether the page was "hidden" while one ran.
    """
    found = []
    step = facts["clock_step_ms"]
    if not facts["secure_context"]:
        found.append(
            "the page came by plain http, which browsers give no threads, no WebGPU and a clock "
            f"with a step of {step:.3g} ms"
        )
    elif not facts["cross_origin_isolated"]:
        found.append(f"the page is not isolated: no threads, a clock with a step of {step:.3g} ms")
    asked, used = seen.get("asked", 1), seen.get("used", 1)
    if used < asked:
        found.append(f"{asked} threads were asked for and {used} used")
    most = max(seen.get("calls_per_sample", {}).values(), default=1)
    if most > 1:
        found.append(
            f"the clock is coarse for these models, so that a time is the mean of up to {most} "
            "inferences in a row: percentiles are those of such means"
        )
    if seen.get("hidden"):
        found.append("the page was in the background while it measured: browsers slow it down then")
    if (facts.get("gpu") or {}).get("software") and seen.get("engine") == "webgpu":
        found.append("WebGPU runs in software here: numbers count, times say nothing")
    return found
