"""Energy by the counters of other machines, and by a clock that is told what to say."""

import fnmatch

import pytest

from edgetransfer.agent.energy import EnergyClock, EnergyCounter, find_source, measure
from edgetransfer.agent.system import System


def system(files):
    def find(pattern):
        parts = {"/".join(file.split("/")[: pattern.count("/") + 1]) for file in files}
        return sorted(part for part in parts if fnmatch.fnmatch(part, pattern))

    return System(files.get, find, lambda _: None)


RAPL = "/sys/class/powercap/intel-rapl:0"
CHIP = "/sys/class/hwmon/hwmon3"
BATTERY = "/sys/class/power_supply/BAT0"


def test_a_machine_without_a_counter_says_so():
    assert find_source(system({})) is None
    assert measure(lambda: None, None, 1.0) == {
        "mj_per_inference": None,
        "reason": "no counter of energy can be read here",
    }


def test_rapl_is_read_over_its_turn():
    files = {
        RAPL + "/name": "package-0",
        RAPL + "/energy_uj": "900000",
        RAPL + "/max_energy_range_uj": "1000000",
        RAPL + ":0/energy_uj": "5",
    }
    source = find_source(system(files))
    assert source.method == "RAPL: package-0"
    assert source.joules() == 0.9
    files[RAPL + "/energy_uj"] = "100000"
    assert source.joules() == 1.1


def test_rapl_that_only_root_may_read_is_no_source():
    assert find_source(system({RAPL + "/name": "package-0"})) is None


def test_a_jetsons_rails_and_its_whole_input():
    files = {
        CHIP + "/name": "ina3221",
        CHIP + "/in1_label": "VDD_IN",
        CHIP + "/in1_input": "5000",
        CHIP + "/curr1_input": "800",
        CHIP + "/in2_label": "VDD_CPU_GPU_CV",
        CHIP + "/in2_input": "5000",
        CHIP + "/curr2_input": "300",
    }
    source = find_source(system(files))
    assert source.method == "INA3221: VDD_IN, mean of power read every 0.2 s"
    assert source.watts() == 4.0
    del files[CHIP + "/in1_label"]
    assert find_source(system(files)).watts() == 5.5


def test_a_battery_tells_only_while_it_is_used():
    files = {
        BATTERY + "/type": "Battery",
        BATTERY + "/status": "Discharging",
        BATTERY + "/current_now": "-500000",
        BATTERY + "/voltage_now": "4000000",
    }
    assert find_source(system(files)).watts() == 2.0
    files[BATTERY + "/status"] = "Charging"
    assert find_source(system(files)) is None


class Machine:
    """Draws 2 W when idle and 5 W at work; a call takes a quarter of a second."""

    def __init__(self, busy_w=5.0):
        self.now_s, self.joules, self.busy_w = 0.0, 0.0, busy_w
        self.clock = EnergyClock(lambda: self.now_s, lambda seconds: self._pass(seconds, 2.0))

    def call(self):
        self._pass(0.25, self.busy_w)

    def _pass(self, seconds, watts):
        self.now_s += seconds
        self.joules += seconds * watts


def test_the_energy_of_an_inference_is_net_of_idling():
    machine = Machine()
    source = EnergyCounter("counter", "1 J", joules=lambda: machine.joules)
    told = measure(machine.call, source, 10.0, machine.clock)
    assert told["mj_per_inference"] == pytest.approx(750.0)
    assert (told["idle_w"], told["busy_w"]) == (pytest.approx(2), pytest.approx(5))
    assert (told["inferences"], told["method"], told["resolution"]) == (40, "counter", "1 J")


def test_power_that_is_read_now_and_then():
    machine = Machine()
    powers = iter([2.0] * 50 + [5.0] * 60)
    source = EnergyCounter("gauge", "1 s", watts=lambda: next(powers))
    told = measure(machine.call, source, 10.0, machine.clock)
    assert told["mj_per_inference"] == pytest.approx(750.0, rel=0.05)


def test_work_that_draws_no_more_than_idling_has_no_energy():
    machine = Machine(busy_w=2.0)
    source = EnergyCounter("counter", "1 J", joules=lambda: machine.joules)
    told = measure(machine.call, source, 10.0, machine.clock)
    assert told["mj_per_inference"] is None
    assert told["reason"] == (
        "work drew no more power than idling: too coarse, or other work went on"
    )


def test_a_counter_that_goes_away():
    source = EnergyCounter("counter", "1 J", joules=lambda: float("nan"))
    machine = Machine()
    told = measure(machine.call, source, 1.0, machine.clock)
    assert told == {
        "mj_per_inference": None,
        "reason": "the counter of energy went away while it was read",
        "method": "counter",
    }
