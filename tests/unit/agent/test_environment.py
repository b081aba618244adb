"""What is said of a machine, with the system files of other machines."""

import os
import platform
import subprocess
import sys

import pytest

from edgetransfer.agent import environment

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
def test_what_disturbs_a_timing(monkeypatch, governor, load, expected, system):
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    assert environment.warnings(system({GOVERNOR: governor})) == expected


@pytest.mark.usefixtures("linux")
@pytest.mark.parametrize(
    ("running", "expected"),
    [
        ("1/340", []),  # this process alone: the load is what the build did before
        ("3/340", ["load average is 3.1 on 4 cores: other work is running"]),
    ],
)
def test_the_load_of_the_build_itself_is_no_other_work(monkeypatch, running, expected, system):
    monkeypatch.setattr(os, "getloadavg", lambda: (3.1, 2.0, 1.0))
    files = {"/proc/loadavg": f"3.1 2.0 1.0 {running} 4711"}
    assert environment.warnings(system(files)) == expected


@pytest.mark.usefixtures("linux")
def test_the_fingerprint_tells_of_the_machine_and_not_of_its_user(monkeypatch, system):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    files = {
        "/proc/cpuinfo": ARM,
        "/proc/meminfo": "MemTotal:        8137968 kB\nMemFree: 1 kB",
        "/proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
        "/proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
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
        "os_family": "linux",
        "identity": ["Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712"],
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
def test_what_is_not_told_is_none(system):
    told = environment.fingerprint({"runtime": "onnxruntime 1.32.0"}, system({}))
    assert (told["memory_mib"], told["governor"], told["isa"]) == (None, None, [])


@pytest.mark.usefixtures("linux")
def test_the_digest_is_of_the_machine_and_not_of_the_moment(system):
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
def test_what_else_disturbs(files, programs, expected, system):
    assert environment.warnings(system(files, programs)) == [expected]


def test_system_files_are_read_without_their_line_end(tmp_path):
    (tmp_path / "governor").write_bytes(b"perf\xff\n")
    assert environment.read_text(str(tmp_path / "governor")) == "perf\ufffd"
    assert environment.read_text(str(tmp_path / "absent")) is None
    assert environment.read_text(str(tmp_path)) is None
