"""Asks an x86-64 processor itself what it has, by its CPUID instruction.

It is needed only where the system's own description is not of the processor that runs: an
emulator that shows its guest the host's ``/proc/cpuinfo``.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import FrozenSet, NamedTuple, Optional

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


def ask(leaf: int, subleaf: int = 0) -> Optional[Registers]:
    """Run the instruction, or return None where the system lets no program make code."""
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


def flags() -> Optional[FrozenSet[str]]:
    """Return the processor's flags that select kernels, in Linux's spelling; None if unknown."""
    highest = ask(0)
    if highest is None:
        return None
    held = set()
    for (leaf, subleaf, register), bits in _FLAGS.items():
        if leaf <= highest.eax:
            value = getattr(ask(leaf, subleaf), register)
            held |= {name for bit, name in bits.items() if value >> bit & 1}
    return frozenset(held)


def hypervisor() -> str:
    """Return the signature of what runs the processor, empty where it does not say."""
    found = ask(0x40000000)
    if found is None:
        return ""
    words = b"".join(value.to_bytes(4, "little") for value in found[1:])
    return words.decode("ascii", "replace").strip("\0")
