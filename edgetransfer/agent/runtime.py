"""Tries whether the runtime loads, in a child process, so that a crash is told and not suffered."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any, Callable, Dict, Sequence

from edgetransfer.agent import machine
from edgetransfer.agent.system import read_text

_LOADS_S = 120.0
"""Loading takes under a second, and a minute on a board with a slow card."""
_PROGRAM = "import sys; sys.path[:] = %r; import onnxruntime; print(onnxruntime.__version__)"
Start = Callable[[Sequence[str]], "subprocess.CompletedProcess[str]"]


def _start(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    return subprocess.run(
        list(command),
        capture_output=True,
        text=True,
        timeout=_LOADS_S,
        check=False,
        env=environment,
    )


def try_import(start: Start = _start) -> Dict[str, object]:
    """Import the runtime in a child process; return `loads` and, unless True, `why`.

    `loads` is None where no child can be started, as in an emulated guest.
    """
    if machine.emulator(read_text):  # where a child starts at all, it runs on the host
        return {"loads": None, "why": "no child process runs on an emulated processor"}
    if not sys.executable:
        return {"loads": None, "why": "no child process can be started: Python has no file here"}
    try:
        done = start([sys.executable, "-c", _PROGRAM % (sys.path,)])
    except OSError as error:
        return {"loads": None, "why": "no child process can be started: %s" % error.strerror}
    except subprocess.TimeoutExpired:
        return {"loads": False, "why": "import onnxruntime did not end in %g s" % _LOADS_S}
    if done.returncode == 0:
        return {"loads": True}
    if done.returncode < 0:
        name = _signal_name(-done.returncode)
        return {"loads": False, "why": "import onnxruntime was killed by %s" % name}
    last = (done.stderr.strip().splitlines() or ["exit code %d" % done.returncode])[-1]
    return {"loads": False, "why": "import onnxruntime failed: %s" % last}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal %d" % number


def build() -> Dict[str, Any]:
    """Return the version of the runtime, the providers it has, and how it was built."""
    import onnxruntime

    info = getattr(onnxruntime, "get_build_info", lambda: None)()
    return {
        "runtime": "onnxruntime %s" % onnxruntime.__version__,
        "providers": list(onnxruntime.get_available_providers()),
        "build": info,
    }
