"""Whether the runtime loads is found out in a child process, however that ends."""

import signal
import subprocess
import sys
from importlib.metadata import version

import pytest

from edgetransfer.agent.runtimes import onnxruntime


def ended(code, stderr=""):
    return lambda command, **_: subprocess.CompletedProcess(command, code, "", stderr)


def raising(error):
    def start(*_, **__):
        raise error

    return start


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (ended(0), {"loads": True}),
        (
            ended(-signal.SIGSEGV),
            {"loads": False, "why": "import onnxruntime was killed by SIGSEGV"},
        ),
        (ended(-99), {"loads": False, "why": "import onnxruntime was killed by signal 99"}),
        (
            ended(1, "Traceback\nModuleNotFoundError: No module named 'onnxruntime'\n"),
            {
                "loads": False,
                "why": "import onnxruntime failed: "
                "ModuleNotFoundError: No module named 'onnxruntime'",
            },
        ),
        (ended(3), {"loads": False, "why": "import onnxruntime failed: exit code 3"}),
        (
            raising(OSError(8, "Exec format error")),
            {"loads": None, "why": "no child process can be started: Exec format error"},
        ),
        (
            raising(subprocess.TimeoutExpired("python", 120)),
            {"loads": False, "why": "import onnxruntime did not end in 120 s"},
        ),
    ],
)
def test_what_is_told(monkeypatch, start, expected):
    monkeypatch.setattr(subprocess, "run", start)
    assert onnxruntime.try_import() == expected


def test_a_real_child_that_crashes(tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import os; os.kill(os.getpid(), 11)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    why = {"loads": False, "why": "import onnxruntime was killed by SIGSEGV"}
    assert onnxruntime.try_import() == why


def test_a_python_without_a_file(monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    why = "no child process can be started: Python has no file here"
    assert onnxruntime.try_import() == {"loads": None, "why": why}


def test_the_build_is_told():
    told = onnxruntime.build()
    assert told["runtime"] == f"onnxruntime {version('onnxruntime')}"
    assert "CPUExecutionProvider" in told["providers"]
    assert "git-commit" in told["build"].lower()
