"""Runs jobs in the browser of an Android device on a cable; nothing is installed there."""

from __future__ import annotations

import shutil
from contextlib import contextmanager, suppress
from subprocess import TimeoutExpired
from typing import TYPE_CHECKING

from edgetransfer.errors import StageError, UnsupportedError
from edgetransfer.transport.browser import place as browser
from edgetransfer.transport.browser import runtime as browser_runtime
from edgetransfer.transport.browser.exchange import Exchange, PageTimeouts
from edgetransfer.transport.browser.server import serving
from edgetransfer.transport.outcome import ran

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgetransfer.transport.browser.runtime import Engine

WORD = "adb"
ROUTE = "the device's browser, through adb reverse"
NOTE = "measured in the device's browser: times of an app with a runtime of its own are others"
_TIMEOUT_S = 60.0
_PATIENCE = PageTimeouts(opened_s=120.0)
_PROPERTIES = {
    "cpu": "ro.soc.model",
    "device": "ro.product.model",
    "maker": "ro.product.manufacturer",
    "os_release": "ro.build.version.release",
}
_LIST = "adb devices -l"
_STATES = {
    "unauthorized": "unlock the device and allow this computer to debug it",
    "offline": "unplug it and plug it in again, or run: adb reconnect",
    "no permissions": "this user may not use USB devices: see the udev rules for Android",
}


class Adb:
    """One device, spoken to by the system's adb; its serial is empty where there is only one."""

    def __init__(self, serial: str) -> None:
        self._serial = serial

    @property
    def where(self) -> str:
        """What the user said."""
        return f"{WORD}:{self._serial}"

    def ask(self, *words: str) -> str:
        """Run an adb command and return what it printed; StageError if it fails or does not end."""
        command = ["adb", *(["-s", self._serial] if self._serial else []), *words]

        def failed(found: str) -> StageError:
            fix = next((fix for state, fix in _STATES.items() if state in found), _LIST)
            return StageError("adb failed", where=" ".join(command), found=found, fix=fix)

        try:
            return ran(command, failed, timeout_s=_TIMEOUT_S).strip()
        except TimeoutExpired as error:
            raise StageError(
                "adb does not answer",
                where=" ".join(command),
                found=f"nothing for {_TIMEOUT_S:.0f} s",
                fix="adb kill-server, and unlock the device",
            ) from error

    def look(self) -> None:
        """Raise a StageError unless the device is there and lets us in."""
        state = self.ask("get-state")
        if state != "device":
            raise StageError(
                "the device is not ready",
                where=self.where,
                found=state,
                expected="device",
                fix=_STATES.get(state, _LIST),
            )

    def properties(self) -> dict[str, str]:
        """Return what the device says it is; what it does not say is left out."""
        told = {key: self.ask("shell", "getprop", name) for key, name in _PROPERTIES.items()}
        return {key: value for key, value in told.items() if value}

    @contextmanager
    def reversed(self, port: int) -> Iterator[int]:
        """Let a free port of the device lead to a port here, until the block ends; give it."""
        there = int(self.ask("reverse", "tcp:0", f"tcp:{port}"))
        try:
            yield there
        finally:
            with suppress(StageError):  # a device that is gone has taken it along
                self.ask("reverse", "--remove", f"tcp:{there}")

    def view(self, url: str) -> None:
        """Open an address in the device's browser; StageError where no app there opens it."""
        told = self.ask("shell", "am", "start", "-a", "android.intent.action.VIEW", "-d", url)
        wrong = [line for line in told.splitlines() if line.startswith("Error")]
        if wrong:
            raise StageError(
                "the device did not open the page",
                where=self.where,
                found=wrong[0],
                fix="set a default browser on the device",
            )


@contextmanager
def connect(address: str, agent: Path) -> Iterator[browser.Browser]:
    """Open the page in a device's browser, named by its serial number, and give that.

    An address of the device itself is a secure one, so that threads and WebGPU are there.
    """
    del agent
    engine: Engine = "webgpu" if address.endswith(":webgpu") else "wasm"
    device = Adb(address.removesuffix(":webgpu"))
    if shutil.which("adb") is None:
        raise UnsupportedError(
            "speaking to an Android device needs adb, which is not installed",
            where=f"--on {WORD}:{address}",
            fix="apt-get install -y --no-install-recommends adb",
        )
    runtime = browser_runtime.prepared(engine)
    device.look()
    known = {**device.properties(), "route": ROUTE}
    exchange = Exchange()
    with serving(exchange, runtime) as server, device.reversed(server.port) as port:
        place = browser.Browser(
            f"{WORD}:{address}", engine, exchange, None, known, (NOTE,), patience=_PATIENCE
        )
        device.view(server.url_at(port))
        browser.await_page(place, "unlock the device: its browser has to open the page")
        browser.look(place)
        yield place
