"""Reads the memory of this process, and resets its high-water mark where the system allows.

It does not poll: a thread that looks on would disturb the timing.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Optional


def _status_kib(field: str) -> Optional[int]:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def resident_mib() -> Optional[float]:
    """Return the memory this process holds now in MiB, or None where it is not told."""
    kib = _status_kib("VmRSS")
    return None if kib is None else kib / 1024


def reset_peak() -> bool:
    """Start the high-water mark afresh (Linux, unprivileged); return whether that worked."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mib() -> float:
    """Return the most memory this process has held, in MiB, since start or `reset_peak`."""
    kib = _status_kib("VmHWM")
    if kib is not None:
        return kib / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)
