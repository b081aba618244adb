"""A bundle gives one report through this machine and ssh, however often the link is cut."""

import random
import sys

import numpy as np
import pytest

from edgetransfer.pipeline.bench.bench import There, bench
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.transport.place import Software
from edgetransfer.transport.ssh import place
from edgetransfer.transport.ssh.link import RetryPolicy
from tests.sshd import board, served  # noqa: F401 (fixtures)

CUTS = 20
MEASURED = ("accuracy", "agreement", "latency", "end_to_end", "memory", "size")
HERE = Software(python=sys.executable)


def fields(value):
    """Return the names in a part of a report, without what stands under them."""
    return {key: fields(each) for key, each in value.items()} if isinstance(value, dict) else ...


@pytest.fixture
def cut_often(board, monkeypatch):  # noqa: F811 (fixture)
    """Drop the link twenty times: as it carries files, while jobs run, and as results come back."""
    monkeypatch.setattr(place, "PATIENCE", RetryPolicy(60.0, 0.02, 0.1))
    chance = random.Random(0)
    lives = [
        {"bytes": chance.randrange(20_000, 150_000)}
        if number % 2
        else {"seconds": chance.uniform(0.05, 0.3)}
        for number in range(CUTS)
    ]
    follow, timed = place.follow, []

    def watched(link, job, start, progress):
        if not board.wire.after and not board.wire.cuts:
            board.wire.after = lives
            board.wire.cut()
            board.wire.cuts = 0
        found = follow(link, job, start, progress)
        written = board.work / "jobs" / start["job"] / "out" / "candidate.npy"
        if job.action == "time" and written.is_file():
            timed.append(np.load(written))
        return found

    monkeypatch.setattr(place, "follow", watched)
    return timed


def test_the_link_is_cut_twenty_times_and_the_report_is_whole(
    built, pictures, board, cut_often, tmp_path  # noqa: F811 (fixture)
):  # fmt: skip
    bundle, out = built.folders["this-machine"], tmp_path / "bench"
    report = bench(
        bundle, DataSpec(source=str(pictures)), out, SilentReporter(), There("ssh:board", HERE)
    )
    assert board.wire.cuts == CUTS
    here, there = built.reports["this-machine"], report
    assert set(here) - {"build"} <= set(there)
    assert {key: fields(there[key]) for key in MEASURED} == {
        key: fields(here[key]) for key in MEASURED
    }
    assert there["environment"].keys() == here["environment"].keys()
    assert there["accuracy"] == here["accuracy"]

    # What each process wrote on the device is here, once, in its order.
    times = np.load(out / "raw" / "candidate.times.npy")
    assert [len(each) for each in cut_often] == list(np.unique(times[:, 0], return_counts=True)[1])
    np.testing.assert_array_equal(times[:, 1:4], np.concatenate(cut_often))
