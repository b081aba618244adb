"""A killed run goes on from the last finished stage, and ends with the same files."""

import functools
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
MOMENTS = (
    "end data", "end teacher probe", "half of teacher views", "end teacher views", "end backbone",
    "end features", "end probe views", "end probe", "half of finetune parts", "end finetune",
    "end trace", "end compress this-machine", "end export this-machine", "end measure this-machine",
)  # fmt: skip
KILLS = int(os.environ.get("EDGETRANSFER_TEST_KILLS", "1"))
"""Random moments to die at; `make test-kills` asks for twenty."""


def run(data, out, cache, *moments, fit="distill"):
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
        if file.parent.parent.name not in ("machine", "measure", "trial")
    }


@pytest.fixture(scope="module")
def uninterrupted(pictures, tmp_path_factory):
    """What a run comes to that nobody kills, and how long it takes: by how it fits."""

    @functools.cache
    def whole(fit):
        folder = tmp_path_factory.mktemp("whole")
        start = time.monotonic()
        run(pictures, folder / "out", folder / "cache", fit=fit)
        return made(folder / "out"), weights(folder / "cache"), time.monotonic() - start

    return whole


def test_killed_at_every_stage(pictures, uninterrupted, tmp_path):
    out, cache = tmp_path / "out", tmp_path / "cache"
    ended = run(pictures, out, cache, *(("STAGE", moment) for moment in MOMENTS))
    assert dict(zip(MOMENTS, ended, strict=True)) == dict.fromkeys(MOMENTS, -signal.SIGKILL)
    assert (made(out), weights(cache)) == uninterrupted("distill")[:2]


@pytest.mark.parametrize("kill", range(KILLS))
def test_killed_at_a_random_moment(pictures, uninterrupted, tmp_path, kill):
    """A run with a teacher, and in turn one that races its rates."""
    fit = ("distill", "finetune")[kill % 2]
    out, cache = tmp_path / "out", tmp_path / "cache"
    *whole, took_s = uninterrupted(fit)
    seconds = random.Random(kill).uniform(0.5, took_s)
    run(pictures, out, cache, ("SECONDS", f"{seconds:.2f}"), fit=fit)
    assert [made(out), weights(cache)] == whole
    assert [name for name in digests_below(out) if ".this-machine." in name] == []
    assert list(cache.glob("*/.partial*")) == []
