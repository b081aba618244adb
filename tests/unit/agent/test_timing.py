"""Timing by a clock that only moves when a call is made."""

import numpy as np
import pytest

from edgetransfer.agent.timing import Clock, Cycle, Plan, measure, timed, warm_up

MS = 1_000_000
PLAN = Plan(blocks=3, block_s=0.05, warmup_s=0.0, warmup_max_s=1.0)


class Machine:
    """Calls take the time they are given, half of it on the CPU."""

    def __init__(self):
        self.now_ns = 0
        self.log = []
        self.clock = Clock(lambda: self.now_ns, lambda: self.now_ns // 2)

    def call(self, name, *took_ms):
        steps = iter(took_ms[:-1])

        def run():
            self.log.append(name)
            self.now_ns += int(next(steps, took_ms[-1]) * MS)

        return run


def order_of_blocks(log):
    """Names in the order in which they took turns."""
    return [name for i, name in enumerate(log) if i == 0 or log[i - 1] != name]


@pytest.fixture
def machine():
    return Machine()


def test_a_call_is_timed_in_wall_and_cpu_time(machine):
    assert timed(machine.call("a", 8), machine.clock) == (8 * MS, 4 * MS)


def test_the_warm_up_ends_after_three_equal_windows(machine):
    assert warm_up(machine.call("a", 2), PLAN, machine.clock)
    assert len(machine.log) == 30


def test_the_warm_up_lasts_as_long_as_it_should(machine):
    assert warm_up(machine.call("a", 2), PLAN._replace(warmup_s=0.15), machine.clock)
    assert machine.now_ns == 160 * MS


@pytest.mark.parametrize(("third_ms", "windows"), [(10.3, 3), (10.31, 4)])
def test_windows_are_equal_within_three_per_cent_of_the_fastest(machine, third_ms, windows):
    slowing = [10.0] * 10 + [10.1] * 10 + [third_ms]
    assert warm_up(machine.call("a", *slowing), PLAN, machine.clock)
    assert len(machine.log) == 10 * windows


def test_one_slow_call_in_a_window_does_not_count(machine):
    assert warm_up(machine.call("a", 90.0, *[2.0] * 9, 2.0), PLAN, machine.clock)
    assert len(machine.log) == 30


def test_the_warm_up_gives_up(machine):
    ever_slower = np.repeat(1.1 ** np.arange(50), 10)
    assert not warm_up(machine.call("a", *ever_slower), PLAN, machine.clock)
    assert PLAN.warmup_max_s * 1e9 <= machine.now_ns < 1.2e9
    assert len(machine.log) % 10 == 0


def test_a_call_longer_than_the_longest_warm_up_runs_in_one_window(machine):
    assert not warm_up(machine.call("a", 500), PLAN, machine.clock)
    assert len(machine.log) == 10


def test_every_sample_is_kept_with_its_block(machine):
    samples = measure({"a": machine.call("a", 20)}, PLAN, 0, machine.clock)["a"]
    assert samples.dtype == np.int64
    blocks = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(samples, [(block, 20 * MS, 10 * MS) for block in blocks])


def test_a_block_holds_one_call_at_least(machine):
    samples = measure({"a": machine.call("a", 70)}, PLAN, 0, machine.clock)["a"]
    np.testing.assert_array_equal(samples[:, 0], [0, 1, 2])


@pytest.mark.parametrize("seed", range(5))
def test_every_round_is_a_permutation_of_all(machine, seed):
    names = ["a", "b", "c", "d"]
    calls = {name: machine.call(name, 70) for name in names}
    measure(calls, PLAN._replace(blocks=20), seed, machine.clock)
    rounds = np.array(machine.log).reshape(20, 4)
    assert all(sorted(order) == names for order in rounds.tolist())
    assert len({tuple(order) for order in rounds.tolist()}) > 5


def test_the_order_depends_on_the_seed_alone():
    def order(names, seed):
        machine = Machine()
        calls = {name: machine.call(name, 70) for name in names}
        measure(calls, PLAN._replace(blocks=20), seed, machine.clock)
        return machine.log

    assert order("abc", 1) == order("cba", 1)
    assert order("abc", 1) != order("abc", 2)


def test_blocks_are_not_mixed(machine):
    calls = {name: machine.call(name, 10) for name in "ab"}
    samples = measure(calls, PLAN, 0, machine.clock)
    assert len(order_of_blocks(machine.log)) <= 2 * PLAN.blocks
    assert {name: len(rows) for name, rows in samples.items()} == {"a": 15, "b": 15}


def test_a_cycle_goes_round():
    seen = []
    cycle = Cycle(seen.append, ["x", "y", "z"])
    for _ in range(7):
        cycle()
    assert seen == ["x", "y", "z", "x", "y", "z", "x"]
