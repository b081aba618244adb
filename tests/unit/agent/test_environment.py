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


@pytest.fixture
def linux(monkeypatch):
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
    assert environment.warnings({GOVERNOR: governor}.get) == expected


@pytest.mark.usefixtures("linux")
def test_the_fingerprint_tells_of_the_machine_and_not_of_its_user(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    files = {
        "/proc/cpuinfo": ARM,
        "/proc/meminfo": "MemTotal:        8137968 kB\nMemFree: 1 kB",
        GOVERNOR: "ondemand",
    }
    told = environment.fingerprint("1.32.0", files.get)
    fixed = {key: told[key] for key in told if key not in ("os", "libc", "python", "numpy")}
    assert fixed == {
        "cpu": "Raspberry Pi 5 Model B Rev 1.0",
        "arch": "arm64",
        "isa": ["asimd", "asimddp", "asimdhp", "i8mm"],
        "emulator": None,
        "cores": 4,
        "memory_mib": 7947,
        "governor": "ondemand",
        "load_average": 0.25,
        "runtime": "onnxruntime 1.32.0",
        "warnings": ["frequency governor is ondemand, not performance"],
    }
    assert platform.node() not in str(told).split()


@pytest.mark.usefixtures("linux")
def test_what_is_not_told_is_none():
    told = environment.fingerprint("1.32.0", {}.get)
    assert (told["memory_mib"], told["governor"], told["isa"]) == (None, None, [])


def test_system_files_are_read_without_their_line_end(tmp_path):
    (tmp_path / "governor").write_bytes(b"perf\xff\n")
    assert environment.read_text(str(tmp_path / "governor")) == "perf\ufffd"
    assert environment.read_text(str(tmp_path / "absent")) is None
    assert environment.read_text(str(tmp_path)) is None
