"""What changes while a machine runs: temperatures, throttling, frequency and power."""

import pytest

from edgetransfer.agent import conditions

CPU = "/sys/devices/system/cpu/"


@pytest.mark.usefixtures("linux")
def test_what_changes_is_read_at_once(system):
    files = {
        "/sys/class/thermal/thermal_zone0/temp": "48312",
        "/sys/class/thermal/thermal_zone0/type": "cpu-thermal",
        "/sys/class/thermal/cooling_device0/type": "cpufreq-cpu0",
        "/sys/class/thermal/cooling_device0/cur_state": "2",
        "/sys/class/thermal/cooling_device1/type": "pwm-fan",
        "/sys/class/thermal/cooling_device1/cur_state": "3",
        CPU + "cpu0/thermal_throttle/core_throttle_count": "7",
        CPU + "cpu1/cpufreq/scaling_cur_freq": "1800000",
        CPU + "cpu0/cpufreq/scaling_cur_freq": "600000",
        "/proc/stat": "cpu  100 0 50 800 40 0 0 10 0 0\ncpu0 1 2 3\n",
    }
    told = conditions.snapshot(system(files, {"vcgencmd": "throttled=0x0"}))
    told.pop("involuntary_switches")
    assert told == {
        "temperatures_c": {"thermal_zone0 cpu-thermal": 48.312},
        "throttling": {"cpu0 core throttle count": 7, "cooling_device0 cpufreq-cpu0": 2},
        "throttle_bits": [],
        "frequency_khz": 1800000,
        "pressure_pct": None,
        "ticks": {"all": 1000, "idle": 840, "stolen": 10},
        "load_average": 0.25,
        "power": {"source": None, "battery_pct": None},
    }


def test_a_board_without_such_files_tells_nothing(system):
    told = conditions.snapshot(system({}))
    assert (told["temperatures_c"], told["throttling"], told["throttle_bits"]) == ({}, {}, None)


def test_the_firmware_is_read_by_its_file_before_its_program(system):
    file = "/sys/devices/platform/soc/soc:firmware/get_throttled"
    assert conditions.throttle_bits(system({file: "4"}, {"vcgencmd": "throttled=0x0"})) == 4
    assert conditions.throttling(system({file: "50005"})) == {"firmware throttle bits": 0x50005}
    assert conditions.throttling(system({file: "not ready"})) == {}
    assert conditions.throttle_bits(system({}, {"vcgencmd": "VCHI initialization failed"})) is None
