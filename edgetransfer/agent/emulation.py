"""Tells whether the processor is emulated: numbers count there, times say nothing.

It does not know of any emulator's options.
"""

from __future__ import annotations

import os
import platform
import subprocess
from typing import Callable, Optional

from edgetransfer.agent import cpuid

VARIABLE = "EDGETRANSFER_EMULATOR"
"""Set by whoever starts the agent in an emulator: what it is, in words."""
_TCG = "TCGTCGTCGTCG"
"""How QEMU signs a processor that it emulates."""
_FAMILIES = (
    ("x86", ("x86", "i386", "i486", "i586", "i686", "amd64")),
    ("arm", ("arm", "aarch")),
    ("riscv", ("riscv",)),
)

Reader = Callable[[str], Optional[str]]


def family(machine: str) -> str:
    """Return the family of instruction sets that a machine's word belongs to.

    >>> family("aarch64"), family("armv7l"), family("x86_64"), family("s390x")
    ('arm', 'arm', 'x86', 's390x')
    """
    word = machine.lower()
    return next((name for name, starts in _FAMILIES if word.startswith(starts)), word)


def emulator(read: Reader) -> Optional[str]:
    """Return what emulates the processor, in words, or None where nothing does.

    A guest is told a machine of its own, but the kernel below it tells what it runs on.

    Args:
        read: returns the content of a system file, or None.
    """
    told = os.environ.get(VARIABLE)
    if told:
        return told
    if platform.system() != "Linux":
        return "Rosetta" if _is_translated() else None
    kernel = read("/proc/sys/kernel/arch")
    if kernel and family(kernel) != family(platform.machine()):
        return "an emulator on %s" % kernel
    if platform.machine() == "x86_64" and cpuid.hypervisor() == _TCG:
        return "QEMU"
    return None


def _is_translated() -> bool:
    """Tell whether this is a program for x86-64 on a Mac with an Arm processor."""
    if (platform.system(), platform.machine()) != ("Darwin", "x86_64"):
        return False
    asked = ["sysctl", "-n", "sysctl.proc_translated"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "1"
