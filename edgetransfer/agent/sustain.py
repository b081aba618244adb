"""Runs one variant for minutes without a rest, and tells how it slows down.

It does not say whether that is too much: the host does.
"""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from edgetransfer.agent import conditions, probe, timing

Call = Callable[[], object]
Tell = Callable[[int, int], None]
WARM_S = 0.3
_TOLD = ("frequency_khz", "temperatures_c", "throttling", "load_average")


class Senses(NamedTuple):
    """Where the machine is looked at, so that a test can bring its own.

    Attributes:
        kernel_ns: times the fixed kernel, see `probe`.
        snapshot: tells what of the machine changes.
        clock: of the machine.
    """

    kernel_ns: Callable[[], int]
    snapshot: Callable[[], Mapping[str, object]] = conditions.snapshot
    clock: timing.Clock = timing.REAL_CLOCK


def sustain(
    call: Call,
    seconds: float,
    window_s: float,
    tell: Tell,
    senses: Optional[Senses] = None,
) -> List[Dict[str, Any]]:
    """Return one row a window: when it began, the median, and what the machine told after it.

    A row also says who used the cores meanwhile: this process for `own_s` of `elapsed_s`, and all
    that ran for `busy_s` of `cores_s`, where the system tells.

    Args:
        call: one inference.
        seconds: in all.
        window_s: of a row.
        tell: told of the whole seconds done, and of all.
        senses: of the machine.
    """
    fixed, snapshot, clock = senses or Senses(probe.Kernel())
    start = clock.wall_ns()
    rows: List[Dict[str, Any]] = []
    since = start, clock.cpu_ns(), snapshot().get("ticks")
    while True:
        began = clock.wall_ns()
        if began - start >= seconds * 1e9:
            return rows
        taken: List[Tuple[int, int]] = []
        while clock.wall_ns() - began < window_s * 1e9 or not taken:
            taken.append(timing.timed(call, clock))
        wall, cpu = np.array(taken, dtype=np.float64).T
        told = snapshot()
        now = clock.wall_ns(), clock.cpu_ns(), told.get("ticks")
        rows.append(
            {
                "at_s": round((began - start) / 1e9, 3),
                "n": len(taken),
                "p50_ms": float(np.median(wall)) / 1e6,
                "p90_ms": float(np.quantile(wall, 0.9, method="inverted_cdf")) / 1e6,
                "cpu_p50_ms": float(np.median(cpu)) / 1e6,
                "probe_ns": fixed(),
                **{key: told[key] for key in _TOLD},
                "elapsed_s": (now[0] - since[0]) / 1e9,
                "own_s": (now[1] - since[1]) / 1e9,
                **conditions.core_seconds(since[2], now[2]),
            }
        )
        since = now
        tell(int((clock.wall_ns() - start) / 1e9), int(seconds))


def settle(call: Call) -> None:
    """Run a little, so that the first window is of a warm session on a cool machine."""
    end = time.monotonic() + WARM_S
    while time.monotonic() < end:
        call()
