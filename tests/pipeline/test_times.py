"""Processes are added until times are known well enough, or there were enough of them."""

import re

import numpy as np
import pytest

from edgetransfer.pipeline.bench.times import samples_of, take
from edgetransfer.transport.job import EFFORTS, Effort, TimingPlan, Variant

PLAN = TimingPlan(blocks=2, block_s=0.1, warmup_s=0.0, warmup_max_s=1.0)
BOTH = (Variant("reference", "a.onnx"), Variant("candidate", "b.onnx"))


class Device:
    """A place that tells prepared times: process k takes `medians_ms[k]`."""

    where, emulated, actions = "device", False, frozenset({"time"})

    def __init__(self, *medians_ms, probes=(), disturbed=()):
        self.jobs = []
        self._medians_ms = medians_ms
        self._probes = probes
        self._disturbed = disturbed

    def run(self, job, out, *, progress=None):
        number = len(self.jobs)
        self.jobs.append(job)
        rng = np.random.default_rng(number)
        for variant in job.variants:
            wall = self._medians_ms[number] * 1e6 * rng.lognormal(0, 0.001, 120)
            block = np.repeat([0, 1, 2], 40)
            rows = np.stack([block, wall, wall], axis=1).astype(np.int64)
            np.save(out / f"{variant.name}.npy", rows)
        told = {"event": "result", "warmed_up": dict.fromkeys(("reference", "candidate"), True)}
        told |= {"turns": [], "floor_ns": 1.0, "waited_s": 0.0}
        told["probe"] = {"baseline_ns": self._probes[number] if self._probes else 50.0}
        if self._disturbed:
            marked = [
                {"name": "candidate", "block": b, "marks": ["probe"]} for b in self._disturbed
            ]
            told["turns"] = [{"name": "reference", "block": 2, "marks": []}, *marked]
        return told


def test_processes_that_agree_are_enough(tmp_path):
    device, told = Device(10, 10.01, 9.99, 10), []
    taken = take(device, BOTH, Effort(3, PLAN, 5), 7, tmp_path, lambda *line: told.append(line))
    assert [job.seed for job in device.jobs] == [7, 8, 9]
    assert (taken.record["lacking"], taken.record["stopped"]) == ({}, "precise")
    assert told == [(1, 5), (2, 5), (5, 5)]
    assert [len(table) for table in taken.tables.values()] == [360, 360]
    assert set(taken.samples()["reference"].process) == {0, 1, 2}


def test_processes_are_added_until_they_agree_or_are_at_their_most(tmp_path):
    device = Device(10, 10.5, 10.2, 10, 10.4)
    taken = take(device, BOTH, Effort(2, PLAN, 5), 0, tmp_path)
    assert len(device.jobs) == 5
    assert list(taken.record["lacking"]) == ["reference", "candidate"]
    assert taken.record["stopped"] == "processes"
    assert taken.record["lacking"]["candidate"][0].startswith("median within ")
    calm = Device(10, 10.02, 10.01, 10.015)
    take(calm, BOTH, Effort(2, PLAN, 5), 0, tmp_path)
    assert len(calm.jobs) < 5


def test_later_processes_are_held_against_the_coolest_so_far(tmp_path):
    device = Device(10, 10, 10, 10, probes=[50.0, 48.0, 55.0, 51.0])
    take(device, BOTH, Effort(4, PLAN, 4, cooldown_s=3.0), 0, tmp_path)
    assert [job.guard.baseline_ns for job in device.jobs] == [None, 50.0, 48.0, 48.0]
    assert {job.guard.cooldown_s for job in device.jobs} == {3.0}


def test_disturbed_turns_are_kept_and_left_out(tmp_path):
    taken = take(Device(10, 10, 10, disturbed=[0]), BOTH, Effort(3, PLAN, 3), 0, tmp_path)
    table = taken.tables["candidate"]
    assert table.shape == (360, 5)
    assert set(table[table[:, 4] == 1, 1]) == {0}
    assert set(taken.samples()["candidate"].block) == {1, 2}
    assert set(taken.samples()["reference"].block) == {0, 1, 2}
    assert len(taken.record["processes"][0]["turns"]) == 2


def test_where_every_turn_was_disturbed_there_are_numbers_still(tmp_path):
    taken = take(Device(10, 10, disturbed=[0, 1, 2]), BOTH, Effort(2, PLAN, 2), 0, tmp_path)
    assert len(samples_of(taken.tables["candidate"]).wall_ns) == 240


def test_no_process_is_added_when_the_time_is_spent(tmp_path):
    device = Device(10, 10.5, 10.2, 10, 10.4)
    taken = take(device, BOTH, Effort(2, PLAN, 5, budget_s=0.0), 0, tmp_path)
    assert (len(device.jobs), taken.record["stopped"]) == (2, "seconds")


def test_processes_are_added_while_the_ratio_is_not_known(tmp_path):
    class Wavering(Device):
        def run(self, job, out, **rest):
            told = super().run(job, out, **rest)
            rows = np.load(out / "candidate.npy")
            rows[:, 1] = rows[:, 1] * (1.0 + 0.03 * (len(self.jobs) % 2))
            np.save(out / "candidate.npy", rows)
            return told

    taken = take(Wavering(*[10] * 4), BOTH, Effort(4, PLAN, 4), 0, tmp_path)
    ((name, lacks),) = taken.record["lacking"].items()
    assert name == "candidate"
    assert re.fullmatch(r"ratio within \d\.\d %, not 2 % against reference", lacks[-1])


@pytest.mark.parametrize("name", list(EFFORTS))
def test_every_effort_takes_processes_enough_for_an_interval(name, hasty):
    effort = hasty[name]
    assert effort.most >= effort.processes >= 3


def test_a_thorough_effort_measures_half_a_minute_a_variant():
    effort = EFFORTS["thorough"]
    assert effort.processes * effort.plan.blocks * effort.plan.block_s == pytest.approx(30)
