"""One bundle gives one report through this machine and through ssh, however often the link is cut."""

import itertools
import random
import sys

import numpy as np
import pytest

from edgetransfer.pipeline.bench import bench
from edgetransfer.pipeline.reporter import SilentReporter
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.transport import ssh, ssh_jobs
from edgetransfer.transport.place import Software
from edgetransfer.transport.ssh_link import Patience
from tests.sshd import board, served  # noqa: F401 (fixtures)

CUTS = 20
HERE = Software(python=sys.executable)


def shape(value):
    """Return a report with its values left out."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value[:1]]
    return "number" if isinstance(value, int | float) else type(value).__name__


@pytest.fixture
def cut_often(board, monkeypatch):  # noqa: F811 (fixture)
    """Drop the link twenty times: as it carries files, while jobs run, and as results come back."""
    monkeypatch.setattr(ssh, "PATIENCE", Patience(60.0, 0.02, 0.1))
    chance = random.Random(0)
    lives = [
        {"bytes": chance.randrange(30_000, 400_000)}
        if number % 2
        else {"seconds": chance.uniform(0.2, 1.2)}
        for number in range(CUTS)
    ]
    follow, started = ssh_jobs.follow, []

    def counted(link, job, start, progress):
        if not started:
            board.wire.after = lives
            board.wire.cut()
            board.wire.cuts = 0
        started.append((job.action, start.job))
        return follow(link, job, start, progress)

    monkeypatch.setattr(ssh_jobs, "follow", counted)
    return started


def test_the_link_is_cut_twenty_times_and_the_report_is_whole(
    built, pictures, board, cut_often, tmp_path  # noqa: F811 (fixture)
):  # fmt: skip
    bundle = built.folders["this-machine"]
    data = DataSpec(source=str(pictures))
    here = bench(bundle, data, tmp_path / "here", SilentReporter()).report
    there = bench(bundle, data, tmp_path / "there", SilentReporter(), "ssh:board", HERE).report
    assert board.wire.cuts == CUTS

    for report in (here, there):
        for varying in ("portability", "findings", "reasons", "gates", "validity", "environment"):
            report.pop(varying, None)
    assert shape(there).keys() == shape(here).keys()
    assert there["accuracy"] == here["accuracy"]
    for name in ("reference", "candidate"):
        rows = [np.load(tmp_path / where / "raw" / f"{name}.logits.npy") for where in
                ("here", "there")]  # fmt: skip
        np.testing.assert_array_equal(*rows)

    # Each process's samples are there once: its blocks one after another, none told twice.
    times = np.load(tmp_path / "there" / "raw" / "candidate.times.npy")
    processes = times[:, 0].astype(int)
    assert [key for key, _ in itertools.groupby(processes)] == sorted(set(processes))
    timed = [job for action, job in cut_often if action == "time"]
    assert len(timed) == len(set(timed))
    for process in set(processes):
        blocks = times[processes == process, 1].astype(int)
        assert sorted(set(blocks)) == [key for key, _ in itertools.groupby(blocks)]
    assert len(np.unique(times, axis=0)) == len(times) or len(times) > 1000
