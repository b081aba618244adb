"""Describes the machine: what decides which kernels run, and what disturbs a timing."""

from __future__ import annotations

import hashlib
import json
import mmap
import platform
import shutil
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Dict, FrozenSet, List, Mapping, Optional

from edgetransfer.agent import conditions, machine
from edgetransfer.agent.system import REAL, Reader, System, ask
from edgetransfer.agent.system import read_text as read_text

PROTOCOL = "etb-1"
"""The rules by which times are taken; a change that makes other numbers of them gets a new name."""
KERNEL_FLAGS = frozenset(
    [
        *("avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
        *("avx512_bf16", "avx_vnni", "avx_vnni_int8", "amx_int8", "amx_bf16"),
        *("asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme"),
    ]
)
"""Flags that select kernels in the runtimes."""
_ARCHITECTURES = {"x86_64": "x86_64", "AMD64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_NARROW = {"x86_64": "i686", "arm64": "armhf"}
_APPLE_FLAGS = {"FEAT_DotProd": "asimddp", "FEAT_I8MM": "i8mm", "FEAT_BF16": "bf16"}
_CPUFREQ = "/sys/devices/system/cpu/cpu0/cpufreq/"
_CHANGES = ("load_average", "started_at", "warnings", "conditions", "variables", "agent")
"""What is not the machine: left out of its digest."""
_BUSY_PRESSURE_PCT = 10.0


def architecture() -> str:
    """Return ``x86_64``, ``arm64`` or what the system calls itself; a 32-bit Python has neither."""
    told = _ARCHITECTURES.get(platform.machine(), platform.machine())
    return told if sys.maxsize > 2**32 else _NARROW.get(told, told)


def _field(text: Optional[str], *keys: str) -> str:
    """Return the value of the first line ``key: value`` of a system file."""
    for line in (text or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""


def isa_flags(read: Reader = read_text) -> FrozenSet[str]:
    """Return the flags among `KERNEL_FLAGS` that the machine has, in Linux's spelling."""
    if sys.platform == "darwin":
        held = [
            flag
            for name, flag in _APPLE_FLAGS.items()
            if ask(["sysctl", "-n", "hw.optional.arm." + name]) == "1"
        ]
        return frozenset(held)
    if architecture() == "x86_64" and machine.emulator(read):
        return machine.cpu_flags() or frozenset()  # the file is the host's
    words = _field(read("/proc/cpuinfo"), "flags", "Features").split()
    return KERNEL_FLAGS.intersection(words)


def cpu_model(read: Reader = read_text) -> str:
    """Return the name of the processor or board, as far as the system tells."""
    if sys.platform == "darwin":
        return ask(["sysctl", "-n", "machdep.cpu.brand_string"]) or ""
    emulator = machine.emulator(read)
    if emulator:
        return emulator
    board = (read("/proc/device-tree/model") or "").strip("\0")
    return board or _field(read("/proc/cpuinfo"), "model name", "Model") or platform.processor()


def _memory_mib(read: Reader, field: str) -> Optional[int]:
    told = _field(read("/proc/meminfo"), field).split()
    return int(told[0]) // 1024 if told else None


def room_left(system: System = REAL) -> Dict[str, Optional[int]]:
    """Return the memory and disk that are free, in MiB; None where that is not told."""
    return {
        "free_memory_mib": _memory_mib(system.read, "MemAvailable"),
        "free_disk_mib": shutil.disk_usage(tempfile.gettempdir()).free // 2**20,
    }


def warnings(system: System = REAL) -> List[str]:
    """Say what on this machine may disturb a timing."""
    found = []
    governor = system.read(_CPUFREQ + "scaling_governor")
    if governor not in (None, "performance"):
        found.append("frequency governor is %s, not performance" % governor)
    load, cores = conditions.load_average() or 0.0, len(conditions.used_cores())
    if load > 0.5 * cores and conditions.others_run(system):  # else the load is the build's own
        found.append("load average is %.1f on %d cores: other work is running" % (load, cores))
    pressure = conditions.pressure(system)
    if pressure is not None and pressure > _BUSY_PRESSURE_PCT:
        found.append("tasks waited for a core %.0f %% of the last ten seconds" % pressure)
    if conditions.power(system)["source"] == "battery":
        found.append("running from a battery")
    bits = conditions.throttle_bits(system)
    if bits:
        found.append("the firmware tells of %s" % ", ".join(conditions.named_bits(bits)))
    return found


def fingerprint(runtime: Mapping[str, Any], system: System = REAL) -> Dict[str, object]:
    """Return the environment of a measurement as plain JSON values, with what its runtime tells."""
    import numpy as np

    told: Dict[str, object] = {
        "protocol": PROTOCOL,
        "cpu": cpu_model(system.read),
        "arch": architecture(),
        "isa": sorted(isa_flags(system.read)),
        "cores": len(conditions.used_cores()),
        "topology": machine.cores(system),
        "memory_mib": _memory_mib(system.read, "MemTotal"),
        "page_kib": mmap.PAGESIZE // 1024,
        "governor": system.read(_CPUFREQ + "scaling_governor"),
        "frequency": machine.frequency(system),
        "os": "%s %s" % (platform.system(), platform.release()),
        "os_family": machine.os_family(),
        "identity": [] if machine.emulator(system.read) else machine.identity(system),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        **machine.enclosure(system),
        "emulator": machine.emulator(system.read),
        "python": platform.python_version(),
        "numpy": np.__version__,
        **runtime,
        "variables": machine.variables(),
        "agent": own_digest(),
        "load_average": conditions.load_average(),
        "conditions": conditions.snapshot(system),
        "started_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "warnings": warnings(system),
    }
    return {**told, "digest": digest(told)}


def digest(told: Mapping[str, object]) -> str:
    """Return a short digest of what stays of a machine and its runtime.

    >>> digest({"cpu": "a", "load_average": 1.0}) == digest({"cpu": "a", "load_average": 2.0})
    True
    """
    stays = {key: value for key, value in told.items() if key not in _CHANGES}
    return hashlib.sha256(json.dumps(stays, sort_keys=True).encode()).hexdigest()[:16]


def own_digest() -> Optional[str]:
    """Return the SHA-256 of the packed agent that runs, None where it is not packed."""
    archive = getattr(globals().get("__loader__"), "archive", None)
    if archive is None:
        return None
    return hashlib.sha256(Path(archive).read_bytes()).hexdigest()
