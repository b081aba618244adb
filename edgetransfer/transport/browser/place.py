"""Runs jobs in a browser: a headless one here, or any that opens the address that is printed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.agent import environment as machine
from edgetransfer.agent.system import ending
from edgetransfer.errors import SpecError, StageError, UnsupportedError, first_line
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport.browser import runtime as browser_runtime
from edgetransfer.transport.browser.exchange import (
    Arrays,
    Errand,
    Exchange,
    Listener,
    Message,
    PageTimeouts,
    environment,
    warnings,
)
from edgetransfer.transport.browser.server import serving
from edgetransfer.transport.job import Job
from edgetransfer.transport.outcome import ANSWER, last_words
from edgetransfer.transport.place import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgetransfer.transport.browser.runtime import Engine

PROGRAMS = (
    *("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"),
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
)
_FLAGS = (
    *("--headless", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-default-apps", "--mute-audio"),
    *("--disable-dev-shm-usage", "--disable-breakpad", "--remote-debugging-pipe"),
)
_GRAPHICS = {
    "wasm": ("--disable-gpu",),
    "webgpu": (
        *("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"),
        "--enable-unsafe-swiftshader",
    ),
}
"""WebGPU in software: a headless Chromium on a machine without a screen has no other."""
_STARTER = """
import os, sys
held = [os.dup(int(end)) for end in sys.argv[1:3]]
for end, expected in zip(held, (3, 4)):
    os.dup2(end, expected)
    os.set_inheritable(expected, True)
os.execv(sys.argv[3], sys.argv[3:])
"""
"""Chromium wants its debugging pipe on descriptors 3 and 4: no shell puts it there portably."""
_STOP_S = 5.0


def find() -> str:
    """Return the path of a Chromium; UnsupportedError where there is none."""
    for program in PROGRAMS:
        found = shutil.which(program)
        if found is not None:
            return found
    raise UnsupportedError(
        "no Chromium on this machine",
        where="--on browser",
        expected=", ".join(PROGRAMS[:-1]),
        fix="apt-get install -y --no-install-recommends chromium, or --on browser:listen",
    )


class ChromiumProcess:
    """A Chromium that was started."""

    def __init__(self, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.process = process
        self._errors = errors

    def ended(self) -> str | None:
        """Say how it ended; None while it runs."""
        code = self.process.poll()
        if code is None:
            return None
        said = last_words(self._errors.read_text(encoding="utf-8", errors="replace"))
        return f"Chromium ended: {ending(code)}\n{said}".rstrip()


@contextmanager
def opened(program: str, url: str, engine: Engine) -> Iterator[ChromiumProcess]:
    """Open a page in a Chromium with its own profile, which ends with the block or this process."""
    command = [program, *_FLAGS, *_GRAPHICS[engine]]
    if os.geteuid() == 0:  # its sandbox refuses the superuser
        command.append("--no-sandbox")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        errors = Path(profile) / "stderr"
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        starter = [sys.executable, "-ISc", _STARTER, str(theirs_in), str(theirs_out)]
        with errors.open("wb") as written:
            process = subprocess.Popen(
                [*starter, *command, f"--user-data-dir={profile}", url],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=written,
                pass_fds=(theirs_in, theirs_out),
                start_new_session=True,
            )
        os.close(theirs_in)
        os.close(theirs_out)
        try:
            yield ChromiumProcess(process, errors)
        finally:
            os.close(ours_out)
            os.close(ours_in)
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End it with all its helpers: they are in a process group of their own."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
        except ProcessLookupError:
            break
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


ACTIONS = frozenset({"outputs", "time", "describe"})


@dataclass(frozen=True)
class BrowserAddress:
    """What stands after ``browser:``.

    >>> BrowserAddress.read("webgpu"), BrowserAddress.read("listen:192.168.1.7:8000").listen
    (BrowserAddress(engine='webgpu', listen=None), ('192.168.1.7', 8000))
    """

    engine: Engine = "wasm"
    listen: tuple[str, int] | None = None

    @classmethod
    def read(cls, address: str) -> BrowserAddress:
        """Read it; SpecError where it is not of this form."""
        words = address.split(":") if address else []
        engine: Engine = "wasm"
        if words and words[0] in browser_runtime.FILES:
            engine = "webgpu" if words.pop(0) == "webgpu" else "wasm"
        if not words:
            return cls(engine)
        word, host, port = (*words, "", "")[:3]
        if word != "listen" or len(words) > 3 or not (port or "0").isdecimal():
            raise SpecError(
                "no such browser",
                where="--on",
                found=f"browser:{address}",
                expected="browser, browser:webgpu, browser:listen or browser:listen:ADDRESS:PORT",
            )
        return cls(engine, (host or own_address(), int(port or 0)))


def own_address() -> str:
    """Return this machine's address in its network, sending nothing; StageError if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # reserved for documentation (RFC 5737)
        except OSError as error:
            raise StageError(
                "this machine is in no network",
                where="--on browser:listen",
                found=str(error),
                fix="name the address to listen on: --on browser:listen:ADDRESS",
            ) from error
        return str(probe.getsockname()[0])


@dataclass
class Browser(Place):
    """A browser, as a place.

    `opening` makes a fresh browser for one job, and is None where the user's own page does them
    all; `known` is what a browser does not tell of the device, and `notes` warn in every
    measurement.
    """

    where: str
    engine: Engine
    exchange: Exchange
    opening: Callable[[], AbstractContextManager[ChromiumProcess]] | None
    known: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    patience: PageTimeouts = field(default_factory=PageTimeouts)
    seen: dict[str, Any] = field(default_factory=dict)
    actions = ACTIONS

    def do(self, job: Job, out: Path, progress: Progress) -> Mapping[str, Any]:
        """Do one job in a fresh browser, or in a fresh worker of the page that is open.

        StageError, with its last words, where the page or the browser ended without a result.
        """
        if job.action not in self.actions:
            raise StageError(f"a browser cannot do the job {job.action!r}", where=self.where)
        errand = Errand.of(job, self.engine)
        if job.variants:
            self.seen |= {"asked": errand.told["engine"]["threads"], "engine": self.engine}
        arrays = Arrays(job.action, out)
        listener = Listener(self.exchange, arrays, progress, self.patience)
        if self.opening is None:
            self.exchange.offer(errand)
            result = listener.follow(job.action, self.where, lambda: None)
        else:
            self.exchange.free()
            self.exchange.offer(errand)
            with self.opening() as running:
                result = listener.follow(job.action, self.where, running.ended)
            self.exchange.free()
        self.seen["hidden"] = self.seen.get("hidden", False) or listener.hidden
        ran = {"session": {"provider": self.engine}} if job.action == "outputs" else {}
        try:
            return {"event": "result", **self._environment(result), **ran}
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            found = f"{type(error).__name__}: {first_line(error)}"
            raise ANSWER.unreadable(f"{self.where}, job {job.action!r}", found) from error

    def show(self, found: Mapping[str, Any], model: Path) -> None:
        """Show the verdict in the user's page, and let pictures be tried there; see `page.js`.

        The measurement is over: where the page cannot do it, that is told there.
        """
        if self.opening is not None:
            return
        errand = Errand.of(Job("show"), self.engine)
        errand = replace(errand, told={**errand.told, **found}, models=(model,))
        listener = Listener(self.exchange, Arrays("show", Path()), silent, self.patience)
        self.exchange.offer(errand)
        with suppress(StageError):
            listener.follow("show", self.where, lambda: None)

    def _environment(self, result: Message) -> Message:
        """Keep what matters later, and put what the page tells of itself in the agent's words."""
        if "threads" in result:
            self.seen["used"] = result["threads"]
        self.seen.setdefault("calls_per_sample", {}).update(result.get("calls_per_sample", {}))
        facts = result.get("facts")
        if facts is None:
            return result
        found = environment(facts, self.engine, browser_runtime.VERSION)
        found |= self.known
        found["threads_used"] = self.seen.get("used")
        found["process"] = "a browser" if self.opening else "a worker of one page"
        found["warnings"] = [*self.notes, *warnings(facts, self.seen)]
        if self.opening:  # on this machine, that is
            found["warnings"] += machine.warnings()
        return {"environment": found}


@contextmanager
def connect(address: str, agent: Path) -> Iterator[Browser]:
    """Serve the page, and give a browser once it has told of itself."""
    del agent
    asked = BrowserAddress.read(address)
    where = f"browser:{address}" if address else "browser"
    runtime = browser_runtime.prepared(asked.engine)
    program = "" if asked.listen else find()
    exchange = Exchange()
    with serving(exchange, runtime, asked.listen or ("127.0.0.1", 0)) as server:
        if asked.listen:
            invite(server.url)
            known = {"route": "a browser that opened the printed address"}
            place = Browser(where, asked.engine, exchange, None, known)
            await_page(
                place, "bring the device into the same network, and let it through a firewall here"
            )
        else:
            place = Browser(
                where,
                asked.engine,
                exchange,
                lambda: opened(program, server.url, asked.engine),
                {"cpu": machine.cpu_model(), "route": "headless Chromium on this machine"},
            )
        look(place)
        yield place


def look(place: Browser) -> None:
    """See whether WebGPU runs in software, where times say nothing; UnsupportedError without it."""
    if place.engine != "webgpu":
        return
    with tempfile.TemporaryDirectory() as folder:
        found = place.run(Job("describe"), Path(folder))["environment"]["gpu"]
    if found is None:
        raise UnsupportedError(
            "this browser has no WebGPU",
            where=place.where,
            fix="--on browser for WebAssembly; a page by plain http over the network never has it",
        )
    place.emulated = found["software"]


def invite(url: str) -> None:
    """Print the address, and as a QR code where segno is installed."""
    sys.stderr.write(f"\nOpen this on the phone or tablet to be measured:\n\n  {url}\n\n")
    try:
        import segno
    except ImportError:
        sys.stderr.write("(with a QR code: pip install 'edgetransfer[browser]')\n\n")
    else:
        segno.make(url, micro=False).terminal(out=sys.stderr, compact=True)
    sys.stderr.flush()


def await_page(place: Browser, fix: str) -> None:
    """Wait until somebody opens the address; StageError where nobody does."""
    if not place.exchange.await_visitor(place.patience.opened_s):
        raise StageError(
            "nobody opened the address",
            where=place.where,
            found=f"no page within {place.patience.opened_s:g} s",
            fix=fix,
        )
