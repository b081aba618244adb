"""Describes the machine: what decides which kernels run, and what disturbs a timing.

It does not name the host or its user, and never changes a setting.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Callable, Dict, FrozenSet, List, Optional

from edgetransfer.agent import cpuid, emulation

Reader = Callable[[str], Optional[str]]

KERNEL_FLAGS = frozenset(
    [
        "avx",
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512bw",
        "avx512vl",
        "avx512_vnni",
        "avx512_bf16",
        "avx_vnni",
        "avx_vnni_int8",
        "amx_int8",
        "amx_bf16",
        "asimd",
        "asimddp",
        "asimdhp",
        "i8mm",
        "bf16",
        "sve",
        "sve2",
        "sme",
    ]
)
"""Flags that select kernels in the runtimes."""

_ARCHITECTURES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_APPLE_FLAGS = {"FEAT_DotProd": "asimddp", "FEAT_I8MM": "i8mm", "FEAT_BF16": "bf16"}
_CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq/"


def read_text(path: str) -> Optional[str]:
    """Return the content of a small system file, or None where it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None


def architecture() -> str:
    """Return ``x86_64``, ``arm64`` or what the system calls itself."""
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _cpuinfo(read: Reader, keys: FrozenSet[str]) -> str:
    for line in (read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def _sysctl(name: str) -> str:
    done = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def isa_flags(read: Reader = read_text) -> FrozenSet[str]:
    """Return the flags among `KERNEL_FLAGS` that the machine has, in Linux's spelling."""
    if sys.platform == "darwin":
        held = [
            flag for name, flag in _APPLE_FLAGS.items() if _sysctl("hw.optional.arm." + name) == "1"
        ]
        return frozenset(held)
    if architecture() == "x86_64" and emulation.emulator(read):
        return cpuid.flags() or frozenset()  # the file is the host's
    words = _cpuinfo(read, frozenset(["flags", "Features"])).split()
    return KERNEL_FLAGS.intersection(words)


def cpu_model(read: Reader = read_text) -> str:
    """Return the name of the processor or board, as far as the system tells."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string")
    emulator = emulation.emulator(read)
    if emulator:
        return emulator
    board = (read("/proc/device-tree/model") or "").strip("\0")
    return board or _cpuinfo(read, frozenset(["model name", "Model"])) or platform.processor()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_mib(read: Reader) -> Optional[int]:
    for line in (read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) // 1024
    return None


def warnings(read: Reader = read_text) -> List[str]:
    """Say what on this machine may disturb a timing."""
    found = []
    governor = read(_CPUFREQ + "scaling_governor")
    if governor not in (None, "performance"):
        found.append("frequency governor is %s, not performance" % governor)
    load = os.getloadavg()[0]
    if load > 0.5 * _cores():
        found.append("load average is %.1f on %d cores: other work is running" % (load, _cores()))
    return found


def fingerprint(runtime_version: str, read: Reader = read_text) -> Dict[str, object]:
    """Return the environment of a measurement as plain JSON values."""
    import numpy as np

    return {
        "cpu": cpu_model(read),
        "arch": architecture(),
        "isa": sorted(isa_flags(read)),
        "emulator": emulation.emulator(read),
        "cores": _cores(),
        "memory_mib": _memory_mib(read),
        "governor": read(_CPUFREQ + "scaling_governor"),
        "load_average": round(os.getloadavg()[0], 2),
        "os": "%s %s" % (platform.system(), platform.release()),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "runtime": "onnxruntime %s" % runtime_version,
        "warnings": warnings(read),
    }
