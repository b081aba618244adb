"""A tiny data set of pictures and one build of it, shared by the tests."""

import sys

import numpy as np
import pytest
import torch
from PIL import Image

import edgetransfer
from edgetransfer.cli import app
from edgetransfer.pipeline.trying import Judge
from edgetransfer.transfer import choice
from edgetransfer.transport import job

COUNTS = {"train": 12, "val": 6, "test": 20}
SHAPES = ("disc", "square", "stripes")


def draw(shape, rng):
    """Return uint8 [30, 36, 3]: one of three shapes, in noise."""
    rows, columns = np.mgrid[:30, :36]
    centre = rng.integers(10, 20), rng.integers(12, 24)
    distance = np.hypot(rows - centre[0], columns - centre[1])
    box = np.maximum(abs(rows - centre[0]), abs(columns - centre[1]))
    inside = {"disc": distance < 8, "square": box < 7, "stripes": columns // 3 % 2 == 0}[shape]
    picture = rng.integers(0, 60, (30, 36, 3)) + inside[..., None] * rng.integers(90, 190, 3)
    return picture.astype(np.uint8)


def write_pictures(root, seed=0):
    rng = np.random.default_rng(seed)
    for split, count in COUNTS.items():
        for shape in SHAPES:
            folder = root / split / shape
            folder.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(draw(shape, rng)).save(folder / f"{index:02d}.png")
    return root


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def hasty():
    """Let builds take few times, and races be short: neither is what these tests are about."""
    kept, steps = dict(job.EFFORTS), choice.RACED_STEPS
    choice.RACED_STEPS = 10
    plan = job.TimingPlan(blocks=6, warmup_s=0.02, warmup_max_s=0.3)
    job.EFFORTS |= dict.fromkeys(("quick", "standard"), job.Effort(2, plan, most=2))
    yield kept
    job.EFFORTS |= kept
    choice.RACED_STEPS = steps


@pytest.fixture(scope="session", autouse=True)
def untimed():
    """Let no clock decide what is shipped: beside other work integers may look slow.

    `test_ladder` has a rung timed; builds in processes of their own time all.
    """
    kept = Judge._time
    times = {"p90_ms": 1.5, "cpu_ratio": 1.3, "cpu_ci95": [1.2, 1.4], "faster": True}
    Judge._time = lambda *_: dict(times)
    yield kept
    Judge._time = kept


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def built(pictures, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("built")
    return edgetransfer.build(pictures, out=out, cache=cache, timing="quick")


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command line in this process; return exit code, standard output and error."""

    def run(*words):
        argv = ["edgetransfer", *map(str, words)]
        monkeypatch.setattr(sys, "argv", argv)
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as stopped:
            app.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return stopped.value.code, captured.out, captured.err

    return run
