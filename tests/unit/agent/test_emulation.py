"""An emulated processor is found out, by what it is told, by the kernel below it, by itself."""

import platform
import sys

import pytest

from edgetransfer.agent import environment
from edgetransfer.agent import machine as emulation

KERNEL = "/proc/sys/kernel/arch"


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.delenv("EDGETRANSFER_EMULATOR", raising=False)
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    monkeypatch.setattr(emulation, "hypervisor", lambda: "KVMKVMKVM")

    def be(word):
        monkeypatch.setattr(platform, "machine", lambda: word)

    return be


@pytest.mark.parametrize(
    ("word", "kernel", "found"),
    [
        ("aarch64", "x86_64", "an emulator on x86_64"),
        ("riscv64", "aarch64", "an emulator on aarch64"),
        ("armv7l", "aarch64", None),
        ("i686", "x86_64", None),
        ("x86_64", "x86_64", None),
        ("x86_64", None, None),
    ],
)
def test_the_kernel_below_is_of_another_family(machine, word, kernel, found):
    machine(word)
    assert emulation.emulator({KERNEL: kernel}.get) == found


def test_what_started_the_agent_says_so(machine, monkeypatch):
    machine("x86_64")
    monkeypatch.setenv("EDGETRANSFER_EMULATOR", "qemu-test 10")
    assert emulation.emulator({}.get) == "qemu-test 10"


def test_an_emulated_processor_of_the_same_family_says_so_itself(machine, monkeypatch):
    machine("x86_64")
    monkeypatch.setattr(emulation, "hypervisor", lambda: "TCGTCGTCGTCG")
    assert emulation.emulator({}.get) == "QEMU"


@pytest.mark.skipif(
    platform.machine() != "x86_64" or sys.platform != "linux", reason="x86-64 Linux only"
)
def test_the_processor_says_of_itself_what_the_system_says():
    listed = environment.KERNEL_FLAGS.intersection(
        next(
            line
            for line in environment.read_text("/proc/cpuinfo").splitlines()
            if line.startswith("flags")
        ).split()
    )
    found = emulation.cpu_flags()
    if found is None:
        pytest.skip("this system lets no program make code")
    assert found == listed


def test_a_processor_that_may_not_be_asked(monkeypatch):
    monkeypatch.setattr(emulation, "cpuid", lambda *_: None)
    assert emulation.cpu_flags() is None
    assert emulation.hypervisor() == ""
