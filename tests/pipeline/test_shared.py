"""Several processes build what one builds, and end together where one of them fails."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgetransfer
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.bundle.files import read_json
from edgetransfer.bundle.opened import open_bundle

SCRIPT = Path(__file__).with_name("shared_build.py")
HOW = {
    "fit": "finetune", "epochs": 1, "learning_rate": 1e-3, "soundness": False,
    "precision": "fp32", "timing": "quick", "seed": 5,
}  # fmt: skip
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("accelerate") is None, reason="accelerate is not installed"
)


def launch(*arguments):
    how = ["torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d"]
    command = [sys.executable, "-m", *how, "--rdzv-endpoint", "localhost:0", str(SCRIPT)]
    return subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def place(pictures, begun, tmp_path_factory):
    """One process builds; the stages up to the fit are then there for several."""
    folder = tmp_path_factory.mktemp("together")
    edgetransfer.build(pictures, out=folder / "one", cache=begun(folder / "cache"), **HOW)
    return folder


def fits(place):
    return {file.parent.name for file in (place / "cache").glob("finetune/*/stage.json")}


def test_two_processes_build_what_one_builds(place, pictures):
    done = launch(pictures, place / "two", place / "cache", json.dumps(HOW))
    assert done.returncode == 0, done.stderr
    alone, shared = (open_bundle(place / name / "this-machine") for name in ("one", "two"))
    said = [each.manifest["fit"]["machine"]["processes"] for each in (alone, shared)]
    assert said == ["1 process", "2 processes (gloo, cpu)"]
    batch = np.random.default_rng(0).normal(size=(8, 3, 64, 64)).astype(np.float32)
    one, two = (
        OnnxSession(each.file("core.onnx")).run({"input": batch})[0] for each in (alone, shared)
    )
    assert np.abs(one - two).max() < 0.01 * np.abs(one).max()  # trained in bfloat16 where it can be
    assert len(fits(place)) == 2
    verdicts = [read_json(place / name / "run.json")["verdict"] for name in ("one", "two")]
    assert verdicts[0] == verdicts[1]


def test_a_failure_ends_both_with_one_message(place, pictures):
    options = json.dumps({**HOW, "seed": 6})
    before = fits(place)
    done = launch(pictures, place / "none", place / "cache", options, 1)
    assert done.returncode != 0
    told = done.stderr[done.stderr.index("told: ") :].splitlines()
    assert told[:2] == [
        "told: several processes: process 2 of 2 failed, and the others were ended",
        "  found: MemoryError()",
    ]
    assert done.stderr.count("told: ") == 1
    assert fits(place) == before
