"""Describes what of a machine stays: cores, frequency, container, variables, an emulator, CPUID."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import sys
from itertools import groupby
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Optional

from edgetransfer.agent.conditions import CPU, used_cores
from edgetransfer.agent.system import REAL, Reader, System, ask

VARIABLE = "EDGETRANSFER_EMULATOR"
"""Set by whoever starts the agent in an emulator: what it is, in words."""
_TCG = "TCGTCGTCGTCG"
"""How QEMU signs a processor that it emulates."""
_ISA_FAMILIES = (
    ("x86", ("x86", "i386", "i486", "i586", "i686", "amd64")),
    ("arm", ("arm", "aarch")),
    ("riscv", ("riscv",)),
)


def family(machine: str) -> str:
    """Return the family of instruction sets that a machine's word belongs to.

    >>> family("aarch64"), family("armv7l"), family("x86_64"), family("s390x")
    ('arm', 'arm', 'x86', 's390x')
    """
    word = machine.lower()
    return next((name for name, starts in _ISA_FAMILIES if word.startswith(starts)), word)


def emulator(read: Reader) -> Optional[str]:
    """Return what emulates the processor, in words, or None where nothing does.

    A guest is told a machine of its own, but the kernel below it tells what it runs on.
    """
    told = os.environ.get(VARIABLE)
    if told:
        return told
    if platform.system() != "Linux":
        mac = (platform.system(), platform.machine()) == ("Darwin", "x86_64")
        return "Rosetta" if mac and ask(["sysctl", "-n", "sysctl.proc_translated"]) == "1" else None
    kernel = read("/proc/sys/kernel/arch")
    if kernel and family(kernel) != family(platform.machine()):
        return "an emulator on %s" % kernel
    if platform.machine() == "x86_64" and hypervisor() == _TCG:
        return "QEMU"
    return None


_DMI = "/sys/class/dmi/id/"
_ANDROID = ("ro.product.manufacturer", "ro.product.model", "ro.soc.model")
_FAMILIES = {"darwin": "macos", "win32": "windows", "cygwin": "windows"}
_VARIABLES = ("OMP_", "ORT_", "OPENBLAS_", "MKL_", "KMP_", "GOMP_")


def cores(system: System = REAL) -> Dict[str, object]:
    """Return how many cores there are, how they differ, and which this process may use."""
    used = used_cores()
    capacities = [system.number("%scpu%d/cpu_capacity" % (CPU, core)) for core in used]
    siblings = system.read("%scpu%d/topology/thread_siblings_list" % (CPU, used[0]))
    return {
        "online": system.read(CPU + "online"),
        "used": ranges(used),
        "threads_per_core": None if siblings is None else _count(siblings),
        "capacities": None if None in capacities else capacities,
    }


def ranges(numbers: List[int]) -> str:
    """Write numbers as Linux does.

    >>> ranges([0, 1, 2, 5]), ranges([3])
    ('0-2,5', '3')
    """
    runs = groupby(enumerate(numbers), lambda each: each[1] - each[0])
    parts = [[number for _, number in run] for _, run in runs]
    return ",".join(
        str(part[0]) if len(part) == 1 else "%d-%d" % (part[0], part[-1]) for part in parts
    )


def _count(text: str) -> int:
    """Count what a list of Linux holds.

    >>> _count("0,32"), _count("0-1"), _count("0-1,4")
    (2, 2, 3)
    """
    parts = (part.partition("-") for part in text.split(","))
    return sum(int(high or low) - int(low) + 1 for low, _, high in parts)


def frequency(system: System = REAL) -> Dict[str, object]:
    """Return who sets the frequency of the cores in use, and within which limits, in kHz."""
    folder = "%scpu%d/cpufreq/" % (CPU, used_cores()[0])
    return {
        "governor": system.read(folder + "scaling_governor"),
        "driver": system.read(folder + "scaling_driver"),
        "min_khz": system.number(folder + "scaling_min_freq"),
        "max_khz": system.number(folder + "scaling_max_freq"),
        "hardware_max_khz": system.number(folder + "cpuinfo_max_freq"),
        "boost": _boost(system),
    }


def _boost(system: System) -> Optional[bool]:
    told = system.number(CPU + "cpufreq/boost")
    if told is not None:
        return told == 1
    off = system.number(CPU + "intel_pstate/no_turbo")
    return None if off is None else off == 0


def os_family(platform: str = sys.platform, values: Mapping[str, str] = os.environ) -> str:
    """Return the family of the system; a Linux may be an Android's.

    >>> os_family("darwin", {}), os_family("linux", {"ANDROID_ROOT": "/system"})
    ('macos', 'android')
    """
    if platform == "linux" and "ANDROID_ROOT" in values:
        return "android"
    return _FAMILIES.get(platform, platform)


def identity(system: System = REAL) -> List[str]:
    """Return what the machine calls itself: the model, for people, first.

    It is told by a device tree (model and ``compatible``), by DMI (maker, product and board), or by
    the system; no serial number is among it.
    """
    model = system.read("/proc/device-tree/model") or ""
    compatible = system.read("/proc/device-tree/compatible") or ""
    told = [model.strip("\0"), *compatible.split("\0")]
    vendor, product, board = (
        system.read(_DMI + name) or "" for name in ("sys_vendor", "product_name", "board_name")
    )
    told += [("%s %s" % (vendor, product)).strip(), board]
    family = os_family()
    if family == "macos":
        told.append(system.ask(["sysctl", "-n", "hw.model"]) or "")
    elif family == "android":
        told += [system.ask(["getprop", name]) or "" for name in _ANDROID]
    return [each for each in dict.fromkeys(told) if each]


def enclosure(system: System = REAL) -> Dict[str, Optional[str]]:
    """Return the kind of container and of virtual machine around this process, as far as told."""
    groups = system.read("/proc/1/cgroup") or ""
    container = next((w for w in ("kubepods", "docker", "lxc", "containerd") if w in groups), None)
    for name, file in (("docker", "/.dockerenv"), ("podman", "/run/.containerenv")):
        container = container if system.read(file) is None else name
    flags = (system.read("/proc/cpuinfo") or "").split()
    machine = None
    if "hypervisor" in flags:
        vendor = system.read("/sys/class/dmi/id/sys_vendor")
        product = system.read("/sys/class/dmi/id/product_name")
        machine = " ".join(each for each in (vendor, product) if each) or "hypervisor"
    return {"container": container, "virtual_machine": machine}


def variables(values: Mapping[str, str] = os.environ) -> Dict[str, str]:
    """Return the variables that steer threads and the runtime.

    >>> variables({"OMP_NUM_THREADS": "1", "HOME": "/root"})
    {'OMP_NUM_THREADS': '1'}
    """
    return {name: values[name] for name in sorted(values) if name.startswith(_VARIABLES)}


# void f(edi: leaf, esi: subleaf, rdx: *out): push rbx; mov r8,rdx; mov eax,edi; mov ecx,esi; cpuid;
# mov [r8],eax; mov [r8+4],ebx; mov [r8+8],ecx; mov [r8+12],edx; pop rbx; ret
_CODE = bytes.fromhex("534989d089f889f10fa241890041895804418948084189500c5bc3")
_FLAGS = {
    (1, 0, "ecx"): {12: "fma", 28: "avx", 29: "f16c"},
    (7, 0, "ebx"): {5: "avx2", 16: "avx512f", 30: "avx512bw", 31: "avx512vl"},
    (7, 0, "ecx"): {11: "avx512_vnni"},
    (7, 0, "edx"): {22: "amx_bf16", 25: "amx_int8"},
    (7, 1, "eax"): {4: "avx_vnni", 5: "avx512_bf16"},
    (7, 1, "edx"): {4: "avx_vnni_int8"},
}
"""Bits by leaf, subleaf and register (Intel SDM volume 2A, CPUID), as Linux names them."""


class Registers(NamedTuple):
    """What one call of the instruction leaves."""

    eax: int
    ebx: int
    ecx: int
    edx: int


def cpuid(leaf: int, subleaf: int = 0) -> Optional[Registers]:
    """Run x86-64's instruction CPUID; None where the system lets no program make code.

    It is needed only where the system's own description is not of the processor that runs: an
    emulator that shows its guest the host's ``/proc/cpuinfo``.
    """
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None
    page.write(_CODE)
    room = ctypes.c_char.from_buffer(page)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_uint32, ctypes.c_void_p)
    found = (ctypes.c_uint32 * 4)()
    kind(ctypes.addressof(room))(leaf, subleaf, ctypes.addressof(found))
    del room  # the page can be closed only when nothing points into it
    page.close()
    return Registers(*found)


def cpu_flags() -> Optional[FrozenSet[str]]:
    """Return the processor's flags that select kernels, in Linux's spelling; None if unknown."""
    highest = cpuid(0)
    if highest is None:
        return None
    held = set()
    for (leaf, subleaf, register), bits in _FLAGS.items():
        if leaf <= highest.eax:
            value = getattr(cpuid(leaf, subleaf), register)
            held |= {name for bit, name in bits.items() if value >> bit & 1}
    return frozenset(held)


def hypervisor() -> str:
    """Return the signature of what runs the processor, empty where it does not say."""
    found = cpuid(0x40000000)
    if found is None:
        return ""
    words = b"".join(value.to_bytes(4, "little") for value in found[1:])
    return words.decode("ascii", "replace").strip("\0")
