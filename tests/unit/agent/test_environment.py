"""What is said of a machine, with the system files of other machines."""

import fnmatch
import os
import platform
import subprocess
import sys

import pytest

from edgetransfer.agent import conditions, emulation, environment, machine
from edgetransfer.agent.system import System

X86 = """processor\t: 0
model name\t: AMD EPYC 9R14
flags\t\t: fpu sse4_2 avx2 fma avx512f avx512_vnni

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
Features\t: fp asimd aes asimdhp asimddp i8mm
CPU implementer\t: 0x41

Model\t\t: Raspberry Pi 5 Model B Rev 1.0
"""
GOVERNOR = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


def system(files, programs=None):
    """A machine that is nothing but these files, and programs by their first word."""

    def find(pattern):
        parts = {"/".join(file.split("/")[: pattern.count("/") + 1]) for file in files}
        return sorted(part for part in parts if fnmatch.fnmatch(part, pattern))

    return System(files.get, find, lambda command: (programs or {}).get(command[0]))


@pytest.fixture
def linux(monkeypatch):
    monkeypatch.setattr(emulation, "emulator", lambda _: None)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(os, "getloadavg", lambda: (0.25, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(platform, "processor", lambda: "unnamed")


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("files", "model", "flags"),
    [
        (
            {"/proc/cpuinfo": X86},
            "AMD EPYC 9R14",
            {"avx2", "fma", "avx512f", "avx512_vnni"},
        ),
        (
            {"/proc/cpuinfo": ARM},
            "Raspberry Pi 5 Model B Rev 1.0",
            {"asimd", "asimdhp", "asimddp", "i8mm"},
        ),
        (
            {"/proc/cpuinfo": ARM, "/proc/device-tree/model": "A board\0"},
            "A board",
            {"asimd", "asimdhp", "asimddp", "i8mm"},
        ),
        ({}, "unnamed", set()),
        ({"/proc/cpuinfo": "nothing of use\n"}, "unnamed", set()),
    ],
    ids=["x86", "arm", "board", "no files", "other words"],
)
def test_processor_and_flags(files, model, flags):
    assert environment.cpu_model(files.get) == model
    assert environment.isa_flags(files.get) == frozenset(flags)


def test_a_mac_is_asked_by_sysctl(monkeypatch):
    answers = {
        "machdep.cpu.brand_string": "Apple M2",
        "hw.optional.arm.FEAT_DotProd": "1",
        "hw.optional.arm.FEAT_I8MM": "1",
        "hw.optional.arm.FEAT_BF16": "0",
    }

    def run(command, **_):
        assert command[:2] == ["sysctl", "-n"]
        return subprocess.CompletedProcess(command, 0, answers[command[2]] + "\n", "")

    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(subprocess, "run", run)
    assert environment.cpu_model() == "Apple M2"
    assert environment.isa_flags() == {"asimddp", "i8mm"}


@pytest.mark.parametrize(
    ("machine", "arch"),
    [("x86_64", "x86_64"), ("AMD64", "x86_64"), ("aarch64", "arm64"), ("riscv64", "riscv64")],
)
def test_architectures_have_one_spelling(monkeypatch, machine, arch):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert environment.architecture() == arch


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("governor", "load", "expected"),
    [
        (None, 0.0, []),
        ("performance", 2.0, []),
        ("powersave", 0.0, ["frequency governor is powersave, not performance"]),
        ("performance", 2.1, ["load average is 2.1 on 4 cores: other work is running"]),
    ],
)
def test_what_disturbs_a_timing(monkeypatch, governor, load, expected):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert environment.warnings(system({GOVERNOR: governor})) == expected


@pytest.mark.usefixtures("linux")
def test_the_fingerprint_tells_of_the_machine_and_not_of_its_user(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    files = {
        "/proc/cpuinfo": ARM,
        "/proc/meminfo": "MemTotal:        8137968 kB\nMemFree: 1 kB",
        GOVERNOR: "ondemand",
    }
    told = environment.fingerprint({"runtime": "onnxruntime 1.32.0"}, system(files))
    here = ("os", "libc", "python", "numpy", "page_kib", "variables", "started_at", "digest")
    fixed = {key: told[key] for key in told if key not in (*here, "conditions")}
    assert fixed == {
        "protocol": "etb-1",
        "cpu": "Raspberry Pi 5 Model B Rev 1.0",
        "arch": "arm64",
        "isa": ["asimd", "asimddp", "asimdhp", "i8mm"],
        "emulator": None,
        "cores": 4,
        "topology": {
            "online": None,
            "used": "0-3",
            "threads_per_core": None,
            "capacities": None,
        },
        "memory_mib": 7947,
        "governor": "ondemand",
        "frequency": {
            "governor": "ondemand",
            "driver": None,
            "min_khz": None,
            "max_khz": None,
            "hardware_max_khz": None,
            "boost": None,
        },
        "container": None,
        "virtual_machine": None,
        "load_average": 0.25,
        "runtime": "onnxruntime 1.32.0",
        "agent": None,
        "warnings": ["frequency governor is ondemand, not performance"],
    }
    assert platform.node() not in str(told).split()


@pytest.mark.usefixtures("linux")
def test_what_is_not_told_is_none():
    told = environment.fingerprint({"runtime": "onnxruntime 1.32.0"}, system({}))
    assert (told["memory_mib"], told["governor"], told["isa"]) == (None, None, [])


@pytest.mark.usefixtures("linux")
def test_the_digest_is_of_the_machine_and_not_of_the_moment():
    def digest(**files):
        renamed = {
            "flags": "/proc/cpuinfo",
            "governor": GOVERNOR,
            "pressure": "/proc/pressure/cpu",
        }
        held = {renamed[name]: content for name, content in files.items()}
        return environment.fingerprint({"runtime": "r 1"}, system(held))["digest"]

    quiet = digest(flags=X86, governor="performance")
    assert quiet == digest(flags=X86, governor="performance", pressure="some avg10=80.00")
    assert quiet != digest(flags=X86, governor="powersave")
    assert quiet != digest(flags=ARM, governor="performance")


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("files", "programs", "expected"),
    [
        (
            {"/proc/pressure/cpu": "some avg10=20.50 avg60=1.00 total=3"},
            {},
            "tasks waited for a core 20 % of the last ten seconds",
        ),
        (
            {
                "/sys/class/power_supply/BAT0/type": "Battery",
                "/sys/class/power_supply/BAT0/status": "Discharging",
                "/sys/class/power_supply/BAT0/capacity": "60",
            },
            {},
            "running from a battery",
        ),
        (
            {},
            {"vcgencmd": "throttled=0x50005"},
            "the firmware tells of under-voltage, throttled, "
            "under-voltage since start, throttled since start",
        ),
    ],
    ids=["pressure", "battery", "firmware"],
)
def test_what_else_disturbs(files, programs, expected):
    assert environment.warnings(system(files, programs)) == [expected]


CPU = "/sys/devices/system/cpu/"


@pytest.mark.usefixtures("linux")
def test_cores_that_differ_and_share():
    files = {
        CPU + "online": "0-7",
        CPU + "cpu0/topology/thread_siblings_list": "0,4",
        **{
            CPU + f"cpu{n}/cpu_capacity": str(size) for n, size in enumerate([250, 250, 1024, 1024])
        },
    }
    assert machine.cores(system(files)) == {
        "online": "0-7",
        "used": "0-3",
        "threads_per_core": 2,
        "capacities": [250, 250, 1024, 1024],
    }


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("file", "told", "boost"),
    [
        (CPU + "cpufreq/boost", "1", True),
        (CPU + "intel_pstate/no_turbo", "1", False),
        (CPU + "intel_pstate/no_turbo", "0", True),
    ],
)
def test_frequency_and_boost(file, told, boost):
    limits = {
        CPU + "cpu0/cpufreq/scaling_min_freq": "600000",
        CPU + "cpu0/cpufreq/scaling_max_freq": "2400000",
        CPU + "cpu0/cpufreq/cpuinfo_max_freq": "2400000",
        CPU + "cpu0/cpufreq/scaling_driver": "cpufreq-dt",
        GOVERNOR: "schedutil",
    }
    assert machine.frequency(system({file: told, **limits})) == {
        "governor": "schedutil",
        "driver": "cpufreq-dt",
        "min_khz": 600000,
        "max_khz": 2400000,
        "hardware_max_khz": 2400000,
        "boost": boost,
    }


@pytest.mark.parametrize(
    ("files", "container", "virtual"),
    [
        ({"/.dockerenv": ""}, "docker", None),
        ({"/run/.containerenv": ""}, "podman", None),
        ({"/proc/1/cgroup": "0::/kubepods/pod1"}, "kubepods", None),
        (
            {
                "/proc/cpuinfo": "flags : fpu hypervisor",
                "/sys/class/dmi/id/sys_vendor": "QEMU",
                "/sys/class/dmi/id/product_name": "Standard PC",
            },
            None,
            "QEMU Standard PC",
        ),
        ({"/proc/cpuinfo": "flags : fpu hypervisor"}, None, "hypervisor"),
    ],
    ids=["docker", "podman", "kubernetes", "named machine", "machine"],
)
def test_what_is_around_the_process(files, container, virtual):
    told = {"container": container, "virtual_machine": virtual}
    assert machine.enclosure(system(files)) == told


@pytest.mark.usefixtures("linux")
def test_what_changes_is_read_at_once():
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


def test_a_board_without_such_files_tells_nothing():
    told = conditions.snapshot(system({}))
    assert (told["temperatures_c"], told["throttling"], told["throttle_bits"]) == ({}, {}, None)


def test_the_firmware_is_read_by_its_file_before_its_program():
    file = "/sys/devices/platform/soc/soc:firmware/get_throttled"
    assert conditions.throttle_bits(system({file: "4"}, {"vcgencmd": "throttled=0x0"})) == 4
    assert conditions.throttling(system({file: "50005"})) == {"firmware throttle bits": 0x50005}
    assert conditions.throttle_bits(system({}, {"vcgencmd": "VCHI initialization failed"})) is None


def test_system_files_are_read_without_their_line_end(tmp_path):
    (tmp_path / "governor").write_bytes(b"perf\xff\n")
    assert environment.read_text(str(tmp_path / "governor")) == "perf\ufffd"
    assert environment.read_text(str(tmp_path / "absent")) is None
    assert environment.read_text(str(tmp_path)) is None
