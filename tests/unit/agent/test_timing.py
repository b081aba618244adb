"""Timing by a clock that only moves when a call is made."""

from dataclasses import replace

import numpy as np
import pytest

from edgetransfer.agent.conditions import Sensors, ThrottleWatch
from edgetransfer.agent.timing import Clock, TimingPlan, cycled, measure, timed, warm_up

MS = 1_000_000
PLAN = TimingPlan(blocks=3, block_s=0.05, warmup_s=0.0, warmup_max_s=1.0)


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
    assert len(machine.log) == 12


def test_the_windows_fill_the_shortest_warm_up(machine):
    assert warm_up(machine.call("a", 2), replace(PLAN, warmup_s=0.15), machine.clock)
    assert machine.now_ns == 150 * MS


@pytest.mark.parametrize(("third_ms", "windows"), [(10.3, 3), (10.31, 4)])
def test_windows_are_equal_within_three_per_cent_of_the_fastest(machine, third_ms, windows):
    wavering = [10.0] * 4 + [third_ms] * 4 + [10.0] * 4 + [10.1]
    assert warm_up(machine.call("a", *wavering), PLAN, machine.clock) is True
    assert len(machine.log) == 4 * (windows if windows == 3 else 5)


def test_a_trend_that_matters_is_no_rest(machine):
    ever_slower = np.concatenate([np.linspace(10, 10.25, 12), np.full(12, 10.25)])
    assert warm_up(machine.call("a", *ever_slower), PLAN, machine.clock)
    assert len(machine.log) > 12


def test_a_trend_of_a_thousandth_does_not_matter(machine):
    hardly = np.linspace(10, 10.01, 12)
    assert warm_up(machine.call("a", *hardly), PLAN, machine.clock)
    assert len(machine.log) == 12


def test_one_slow_call_in_a_window_does_not_count(machine):
    assert warm_up(machine.call("a", 90.0, *[2.0] * 3, 2.0), PLAN, machine.clock)
    assert len(machine.log) == 12


def test_the_warm_up_gives_up(machine):
    ever_slower = np.repeat(1.1 ** np.arange(50), 4)
    assert not warm_up(machine.call("a", *ever_slower), PLAN, machine.clock)
    assert PLAN.warmup_max_s * 1e9 <= machine.now_ns < 1.2e9
    assert len(machine.log) % 4 == 0


def test_a_slow_call_gets_its_three_windows(machine):
    assert warm_up(machine.call("a", 500), PLAN, machine.clock)
    assert len(machine.log) == 12


def test_every_timed_call_is_kept_with_its_block(machine):
    samples = measure({"a": machine.call("a", 20)}, PLAN, 0, machine.clock).samples["a"]
    assert samples.dtype == np.int64
    blocks = [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(samples, [(block, 20 * MS, 10 * MS) for block in blocks])


def test_the_first_call_of_a_turn_finds_cold_caches_and_is_not_timed(machine):
    cold_then_warm = [30, 20, 20, 20] * 3
    samples = measure({"a": machine.call("a", *cold_then_warm)}, PLAN, 0, machine.clock)
    assert samples.samples["a"][:, 1].tolist() == [20 * MS] * 9


@pytest.mark.parametrize(("took_ms", "rounds"), [(10, 60), (20, 60), (25, 48), (900, 3)])
def test_slow_calls_end_the_rounds_at_twice_the_planned_time(machine, took_ms, rounds):
    plan = replace(PLAN, blocks=60, block_s=0.02)
    calls = {name: machine.call(name, took_ms) for name in "ab"}
    samples = measure(calls, plan, 0, machine.clock).samples
    assert {name: len(np.unique(rows[:, 0])) for name, rows in samples.items()} == {
        "a": rounds,
        "b": rounds,
    }


def test_a_block_holds_one_timed_call_at_least(machine):
    samples = measure({"a": machine.call("a", 70)}, PLAN, 0, machine.clock).samples["a"]
    np.testing.assert_array_equal(samples[:, 0], [0, 1, 2])


@pytest.mark.parametrize("seed", range(5))
def test_every_round_is_a_permutation_of_all(machine, seed):
    names = ["a", "b", "c", "d"]
    calls = {name: machine.call(name, 30) for name in names}
    turns = measure(calls, replace(PLAN, blocks=20), seed, machine.clock).turns
    rounds = np.array([turn["name"] for turn in turns]).reshape(20, 4)
    assert all(sorted(order) == names for order in rounds.tolist())
    assert len({tuple(order) for order in rounds.tolist()}) > 5


def test_the_order_depends_on_the_seed_alone():
    def order(names, seed):
        machine = Machine()
        calls = {name: machine.call(name, 70) for name in names}
        measure(calls, replace(PLAN, blocks=20), seed, machine.clock)
        return machine.log

    assert order("abc", 1) == order("cba", 1)
    assert order("abc", 1) != order("abc", 2)


def test_blocks_are_not_mixed(machine):
    calls = {name: machine.call(name, 10) for name in "ab"}
    samples = measure(calls, PLAN, 0, machine.clock).samples
    assert len(order_of_blocks(machine.log)) <= 2 * PLAN.blocks
    assert {name: len(rows) for name, rows in samples.items()} == {"a": 15, "b": 15}


class Weather:
    """Sensors that tell what a list says, one entry a look."""

    def __init__(self, *kernel_ns, counters=(), frequencies=()):
        self.naps = []
        count = self._next(counters, 0)
        self.sensors = Sensors(
            self._next(kernel_ns, 100),
            lambda: {"cpu0 core throttle count": count()},
            self._next(frequencies, None),
            self.naps.append,
        )

    def _next(self, told, last):
        steps = iter(told)
        return lambda: next(steps, last)


def turns_of(machine, weather, cooldown_s=1.0, blocks=2):
    guard = ThrottleWatch(weather.sensors, 100.0, cooldown_s)
    calls = {"a": machine.call("a", 70)}
    measured = measure(calls, replace(PLAN, blocks=blocks), 0, machine.clock, guard)
    assert [turn["name"] for turn in measured.turns] == ["a"] * len(measured.turns)
    assert measured.samples["a"][:, 0].tolist() == [turn["block"] for turn in measured.turns]
    return [(turn["block"], turn["marks"]) for turn in measured.turns]


def test_a_calm_machine_takes_every_turn_once(machine):
    weather = Weather(110, 109)
    assert turns_of(machine, weather) == [(0, []), (1, [])]
    assert weather.naps == []


def test_a_slower_kernel_marks_the_turn_and_it_is_taken_again(machine):
    weather = Weather(111, 104, 102, 100)
    assert turns_of(machine, weather) == [(2, ["probe"]), (0, []), (1, [])]
    assert weather.naps == [0.25, 0.25]


def test_a_machine_that_does_not_recover_is_marked_and_waited_for_no_longer_than_allowed(machine):
    weather = Weather(*[150] * 50)
    told = turns_of(machine, weather, cooldown_s=0.6)
    assert told == [(2, ["probe"]), (0, ["probe"]), (3, ["probe"]), (1, ["probe"])]
    assert sum(weather.naps) == pytest.approx(0.6)


def test_a_throttle_counter_that_grows_in_a_turn_marks_it(machine):
    weather = Weather(counters=[5, 5, 6, 6, 6, 6])  # at first, then around each turn
    assert turns_of(machine, weather) == [(2, ["cpu0 core throttle count"]), (0, []), (1, [])]


def test_a_frequency_under_nine_tenths_of_the_first_marks_the_turn(machine):
    weather = Weather(frequencies=[2000, 1799, 1801])
    assert turns_of(machine, weather) == [(0, []), (3, ["frequency"]), (1, [])]


def test_a_cooling_device_above_its_first_state_marks_the_turn(machine):
    states = iter([1, 2, 2, 1, 1])
    weather = Weather()
    sensors = weather.sensors._replace(counters=lambda: {"cooling_device0 cpu": next(states)})
    weather.sensors = sensors
    assert turns_of(machine, weather, blocks=1) == [(1, ["cooling_device0 cpu"]), (0, [])]


def test_a_cycle_goes_round():
    seen = []
    cycle = cycled(seen.append, ["x", "y", "z"])
    for _ in range(7):
        cycle()
    assert seen == ["x", "y", "z", "x", "y", "z", "x"]
