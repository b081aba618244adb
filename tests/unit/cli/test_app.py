"""D5: whatever goes wrong, and whenever the user stops, the end is one message and a known code."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from importlib.metadata import version

import numpy as np
import pytest
import torch
from PIL import Image

from edgetransfer.backbone.sources import builtin_names
from edgetransfer.cli import app, commands
from edgetransfer.errors import (
    DataError,
    IntegrityError,
    MissingExtraError,
    SpecError,
    StageError,
    UnsupportedError,
)
from edgetransfer.graph.trace import Signature, trace
from edgetransfer.spec.recipe import recipe_from


@pytest.fixture
def ended(monkeypatch, capfd):
    """Run `main` with a deed in place of a command; return exit code, output and error."""

    def run(deed, *words):
        monkeypatch.setattr(sys, "argv", ["edgetransfer", *words])
        monkeypatch.setattr(commands, "app", deed)
        kept = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as stopped:
                app.main()
        finally:
            signal.signal(signal.SIGINT, kept)
        return stopped.value.code, *capfd.readouterr()

    return run


def raising(error):
    def deed():
        raise error

    return deed


def test_a_crash_is_told_with_what_to_report(ended):
    code, out, told = ended(lambda: 1 // 0, "build", "my photos")
    lines = told.splitlines()
    assert (code, out) == (7, "")
    assert lines[0] == (
        "error: edgetransfer broke down; this is a fault in it, not in what you gave"
    )
    assert lines[1].startswith("  found: ZeroDivisionError: integer division or modulo by zero (")
    assert "cli/test_app.py, line " in lines[1]
    assert lines[2] == "  command: edgetransfer build 'my photos'"
    assert lines[3].startswith("  version: edgetransfer 0")
    assert lines[4] == (
        "  fix: report these lines to the project, with the traceback that --debug shows; "
        "finished stages are kept"
    )
    assert len(lines) == 5


def test_words_of_a_command_steer_no_terminal(monkeypatch, capfd):
    """Fault E6: escape sequences of a message reached the terminal."""
    monkeypatch.setattr(sys, "argv", ["edgetransfer", "report", "x\x1b[2Jy"])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    told = capfd.readouterr().err
    assert (stopped.value.code, told.splitlines()[0]) == (3, "error: x\\x1b[2Jy: not a bundle")


@pytest.mark.parametrize(
    "words",
    [("--debug", "build"), ("build", "--debug", "--", "x"), ("--debug", "build", "--debug")],
)
def test_debug_shows_the_traceback_wherever_it_stands(ended, monkeypatch, words):
    monkeypatch.setenv("EDGETRANSFER_DEBUG", "")
    code, _, told = ended(lambda: 1 // 0, *words)
    assert code == 7
    assert told.startswith("Traceback (most recent call last):\n")
    assert "--debug" not in sys.argv


def test_a_text_that_is_debug_is_a_text(ended):
    ended(lambda: None, "predict", "bundle", "--", "--debug")
    assert sys.argv[-1] == "--debug"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            FileNotFoundError(errno.ENOENT, "whatever", "a\x1b[2J"),
            "error: a\\x1b[2J: No such file or directory\n"
            "  fix: see that it is there, and may be used\n",
        ),
        (
            OSError(errno.ENOSPC, "whatever", "x"),
            "error: x: no space left on the disk\n  found: No space left on device\n"
            "  fix: free some space and run the same command again\n",
        ),
        (
            MemoryError("Unable to allocate 9 TiB"),
            "error: the memory is full\n  found: Unable to allocate 9 TiB\n"
            "  fix: end other programs, or take a smaller backbone, fewer examples or --threads 1; "
            "the same command goes on from the last finished stage\n",
        ),
    ],
)
def test_what_the_system_refuses_is_told_in_words(ended, error, told):
    assert ended(raising(error)) == (7, "", told)


STOPPED = "\nstopped. The same command goes on from the last finished stage.\n"


def stop(*_, **__):
    signal.raise_signal(signal.SIGINT)


def stop_within(*_, **__):
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException as error:
        msg = "the exporter failed"
        raise RuntimeError(msg) from error


@pytest.mark.parametrize("export", [stop, stop_within])
def test_stopping_during_the_export_is_neither_silent_nor_a_failed_export(
    ended, monkeypatch, export
):
    monkeypatch.setattr(torch.onnx, "export", export)
    rows = np.zeros((2, 3), np.float32)
    deed = lambda: trace(torch.nn.Linear(3, 2), [rows], Signature(("x",), "y"))  # noqa: E731
    assert ended(deed) == (130, "", STOPPED)


def test_what_is_swallowed_still_stops_in_the_end(ended):
    def deed():
        try:
            stop()
        except BaseException:  # as a library may
            return

    assert ended(deed) == (130, "", STOPPED)


@pytest.fixture
def program():
    """Start the program; return exit code, output and error."""

    def run(*words, within=None, **environment):
        command = [sys.executable, "-m", "edgetransfer", *map(str, words)]
        done = subprocess.run(
            ["bash", "-c", within, "bash", *command] if within else command,
            capture_output=True,
            check=False,
            env={**os.environ, **environment},
            timeout=60,
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def test_a_reader_that_goes_away_is_no_failure(program):
    code, _, told = program("targets", within='"$@" | true; exit ${PIPESTATUS[0]}')
    assert (code, told) in ((141, ""), (0, ""))


def test_a_closed_output_is_no_failure(program):
    assert program("targets", within='"$@" >&-') == (0, "", "")


def test_a_terminal_that_lacks_letters(program, tmp_path):
    """`PYTHONIOENCODING=ascii` ended commands after their work."""
    name = "caf\xe9 \U0001f600 \udcff"
    code, _, told = program("predict", tmp_path / name, "x", PYTHONIOENCODING="ascii")
    assert code == 3
    assert told.startswith(f"error: {tmp_path}/caf\\xe9 \\U0001f600 \\udcff: not a bundle\n")
    code, out, _ = program("plan", name[:-1], PYTHONIOENCODING="ascii")
    assert (code, "data.source          caf\\xe9 \\U0001f600 " in out) == (0, True)
    code, _, told = program("plan", name, PYTHONIOENCODING="ascii")
    assert code == 3
    assert told.startswith(
        "error: command line: the whole: half of a character, as in a name that is not UTF-8 (found"
    )
    code, out, _ = program("targets", "this-machine", "--json", PYTHONIOENCODING="ascii")
    assert code == 0
    assert json.loads(out)[0]["name"] == "this-machine"


@pytest.fixture
def typed(monkeypatch, capfd):
    """Run what is typed, in this process; return exit code and output."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["edgetransfer", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            app.main()
        return stopped.value.code, capfd.readouterr().out

    return run


def test_the_version_is_that_of_the_installation(typed):
    assert typed("--version") == (0, f"edgetransfer {version('edgetransfer')}\n")


def test_help_has_a_short_name(typed):
    assert typed("head", "export", "-h") == typed("head", "export", "--help")


COMPLETED = {
    "build --target rasp": ["raspberry-pi-4", "raspberry-pi-5"],
    "build --backbone b": [f"builtin:{name}" for name in builtin_names()],
    "build --task c": ["classification"],
    "build --calibration e": ["exact"],
    "build --fit l": ["lora"],
    "build --max-d": ["--max-drop"],
    "bench b --on qemu:r": ["qemu:riscv64"],
    "bench b --as-target web": ["web-wasm", "web-webgpu"],
    "backbones rank --backbone h": ["hf:"],
    "matrix --backbone a": ["auto"],
    "doctor --target x86-v": ["x86-vnni"],
    "doctor --on s": ["ssh:"],
    "targets web-w": ["web-wasm", "web-webgpu"],
    "add-c": ["add-class"],
}


@pytest.mark.parametrize("words", COMPLETED)
def test_a_shell_completes(typed, monkeypatch, words):
    monkeypatch.setitem(os.environ, "_EDGETRANSFER_COMPLETE", "complete_bash")
    monkeypatch.setitem(os.environ, "COMP_WORDS", f"edgetransfer {words}")
    monkeypatch.setitem(os.environ, "COMP_CWORD", str(len(words.split())))
    monkeypatch.setattr(sys.modules["__main__"], "__package__", None)  # as of the installed script
    code, out = typed()
    assert (code, out.split()) == (0, COMPLETED[words])


def test_bash_completes_by_the_script_that_is_installed_and_loads_no_torch(tmp_path):
    started = tmp_path / "edgetransfer"
    called = (
        "import sys; sys.argv[0] = 'edgetransfer'; from edgetransfer.cli.app import main; main()"
    )
    started.write_text(f'#!/bin/sh\nexec {sys.executable} -X importtime -c "{called}" "$@"\n')
    started.chmod(0o755)
    script = (
        f'eval "$({started} --show-completion bash 2>/dev/null)"\n'
        "COMP_WORDS=(edgetransfer build --target raspberry-pi-5); COMP_CWORD=3\n"
        f'_edgetransfer_completion {started}; echo "${{COMPREPLY[@]}}"'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "raspberry-pi-5\n")
    assert " typer" in done.stderr
    assert " torch" not in done.stderr


def test_the_demo_builds_on_the_digits(typed, monkeypatch, tmp_path):
    """200 to fit, 400 to choose, 1,197 to judge; 20 of each digit to fit."""
    asked = []

    def noted(recipe, out, *_):
        asked.append((recipe, out))
        sys.exit(0)

    monkeypatch.setattr("edgetransfer.pipeline.build.build", noted)
    assert typed("demo", "--out", tmp_path, "--cache", tmp_path / "cache") == (0, "")
    ((recipe, out),) = asked
    assert (out, recipe.targets) == (tmp_path, ("this-machine",))
    assert recipe == recipe_from({"data": str(tmp_path / "digits"), "fit": "probe"})
    with (tmp_path / "digits" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["split"] for row in rows) == {"train": 200, "validation": 400, "test": 1197}
    assert set(Counter(row["label"] for row in rows if row["split"] == "train").values()) == {20}
    (size,) = {Image.open(tmp_path / "digits" / row["file"]).size for row in rows}
    assert size == (8, 8)


def test_every_kind_of_error_has_its_exit_code(ended):
    kinds = {
        SpecError("x"): 3,
        DataError("x"): 4,
        MissingExtraError("x", "x", purpose="x"): 5,
        UnsupportedError("x"): 6,
        StageError("x"): 7,
        IntegrityError("x"): 9,
    }
    assert [ended(raising(error))[0] for error in kinds] == list(kinds.values())


def test_wrong_data_are_told_before_torch_is_loaded(tmp_path):
    """It takes seconds, which no message of a wrong path or target should wait for."""
    program = (
        "import sys\n"
        "from edgetransfer.cli.app import main\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print('torch' in sys.modules)\n"
    )
    (tmp_path / "data").mkdir()
    words = ["build", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    words += ["--cache", str(tmp_path / "cache")]
    done = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (4, "False\n")
