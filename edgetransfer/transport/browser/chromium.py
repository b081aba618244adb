"""Starts a headless Chromium on a page, and sees to it that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.errors import UnsupportedError
from edgetransfer.transport.outcome import ending, last_words

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Open a page in a Chromium with a profile of its own, until the block ends.

    Chromium ends by itself when its debugging pipe closes: it never outlives this process.
    """
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
