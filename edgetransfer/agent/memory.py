"""Reads the memory of this process, and resets its high-water mark where the system allows.

It does not poll: a thread that looks on would disturb the timing.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Optional


def _kib(field: str, file: str = "/proc/self/status") -> Optional[int]:
    try:
        for line in Path(file).read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def resident_mib() -> Optional[float]:
    """Return the memory this process holds now in MiB, or None where it is not told."""
    kib = _kib("VmRSS")
    return None if kib is None else kib / 1024


def proportional_mib() -> Optional[float]:
    """Return the memory held now in MiB, what is shared counted by the share, None if not told."""
    kib = _kib("Pss", "/proc/self/smaps_rollup")
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
    kib = _kib("VmHWM")
    if kib is not None:
        return kib / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)
