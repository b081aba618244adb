"""A killed run goes on from the last finished stage, and ends with the same files."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgetransfer.bundle.files import digests_below, read_json
from edgetransfer.bundle.opened import open_bundle

SCRIPT = Path(__file__).with_name("killed.py")
STAGES = (
    "end data", "end backbone", "end features", "end probe looks", "end probe", "end finetune",
    "end trace", "end compress this-machine", "end export this-machine", "end measure this-machine",
)  # fmt: skip
TAUGHT = (
    "end teacher probe", "half of teacher looks", "end teacher looks", "half of finetune parts",
)  # fmt: skip
MOMENTS = int(os.environ.get("EDGETRANSFER_TEST_KILLS", "2"))
"""Random moments to die at; `make test-kills` asks for twenty."""


def run(data, out, cache, *moments, fit="finetune"):
    """Build once for each moment to die at, and then to the end; return how each ended."""
    words = [word for moment in (*moments, ("NEVER", "-")) for word in moment]
    command = [sys.executable, str(SCRIPT), str(data), str(out), str(cache), fit, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    *ended, last = json.loads(done.stdout or "[1]")
    assert last == 0, done.stderr
    return ended


def made(out):
    """Digests of splits, weights, ONNX files, calibration and golden files."""
    bundle = open_bundle(out / "this-machine")
    manifest = bundle.manifest
    return {
        "splits": manifest["data"]["splits"],
        "fit": manifest["fit"],
        "calibration": manifest["compression"]["calibration"]["digest"],
        "files": manifest["files"],
    }


def weights(cache):
    """Digests of what every stage kept, but for what was measured by the clock."""
    return {
        file.parent.relative_to(cache).as_posix(): read_json(file)["files"]
        for file in cache.glob("*/*/stage.json")
        if file.parent.parent.name not in ("machine", "measure", "runtimes", "trial")
    }


@pytest.fixture(scope="module")
def uninterrupted(pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    start = time.monotonic()
    run(pictures, folder / "out", folder / "cache")
    return made(folder / "out"), weights(folder / "cache"), time.monotonic() - start


def test_killed_at_every_stage(pictures, uninterrupted, tmp_path):
    out, cache = tmp_path / "out", tmp_path / "cache"
    ended = run(pictures, out, cache, *(("STAGE", stage) for stage in STAGES))
    assert dict(zip(STAGES, ended, strict=True)) == dict.fromkeys(STAGES, -signal.SIGKILL)
    assert made(out) == uninterrupted[0]
    assert weights(cache) == uninterrupted[1]


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed_at_a_random_moment(pictures, uninterrupted, tmp_path, moment):
    out, cache = tmp_path / "out", tmp_path / "cache"
    seconds = random.Random(moment).uniform(0.5, uninterrupted[2])
    run(pictures, out, cache, ("SECONDS", f"{seconds:.2f}"))
    assert made(out) == uninterrupted[0]
    assert weights(cache) == uninterrupted[1]
    assert [name for name in digests_below(out) if ".this-machine." in name] == []
    assert list(cache.glob("*/.partial*")) == []


def test_a_taught_run_killed(pictures, tmp_path):
    done = []
    for name, moments in (("whole", ()), ("killed", TAUGHT)):
        out, cache = tmp_path / name / "out", tmp_path / name / "cache"
        ended = run(
            pictures,
            out,
            cache,
            *(("STAGE", stage) for stage in moments),
            fit="distill",
        )
        assert ended == [-signal.SIGKILL] * len(moments)
        done.append((made(out), weights(cache)))
    assert done[0] == done[1]
