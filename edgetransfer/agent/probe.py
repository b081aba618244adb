"""Times a fixed kernel, by which a slower machine shows, and a model that does nothing."""

from __future__ import annotations

import base64
import time
from typing import Any, Callable, Mapping, NamedTuple

import numpy as np

from edgetransfer.agent.timing import REAL_CLOCK, Clock, timed

NULL_MODEL = base64.b64decode(
    "CAgSADo/ChAKAXgSAXkiCElkZW50aXR5EgFuWhMKAXgSDgoMCAESCAoCCAEKAggBYhMKAXkSDgoMCAESCAoCCAEKAggBQgQKABAN"
)
"""``y = Identity(x)``, x float32 [1, 1], opset 13, IR 8."""
_CALLS = 500
_WARM = 50


def floor_ns(
    run: Callable[[Mapping[str, np.ndarray[Any, Any]]], object], clock: Clock = REAL_CLOCK
) -> float:
    """Return the median wall time of one call of the null model."""
    example = {"x": np.zeros((1, 1), np.float32)}
    for _ in range(_WARM):
        run(example)
    return float(np.median([timed(lambda: run(example), clock)[0] for _ in range(_CALLS)]))


_NUMBERS = 4096
_ROUNDS = 8
_BEST_OF = 8
_BASELINE_OF = 40


class Baseline(NamedTuple):
    """What the kernel takes when the machine is fresh, and how much that wavers."""

    ns: float
    rel_iqr: float


class Kernel:
    """Square roots of the same 32 KiB of numbers, over and over.

    It stays in the first cache, so it waits for the core and not for memory that others use. One
    call gives the best of several short runs, in CPU time of this thread: a neighbour that takes
    the core away adds wall time only, and one that comes for a moment spoils some runs and not all.
    A lower frequency shows, for CPU time counts seconds and not cycles. What also shows is a
    neighbour that stays on the other thread of the same core: that slows a model as well.
    """

    def __init__(self, cpu_ns: Callable[[], int] = time.thread_time_ns) -> None:
        self._cpu_ns = cpu_ns
        self._numbers = np.linspace(1.0, 2.0, _NUMBERS)
        self._roots = np.empty_like(self._numbers)

    def __call__(self) -> int:
        """Return nanoseconds of the best run."""
        taken = []
        for _ in range(_BEST_OF):
            start = self._cpu_ns()
            for _ in range(_ROUNDS):
                np.sqrt(self._numbers, out=self._roots)
            taken.append(self._cpu_ns() - start)
        return min(taken)


def baseline(kernel: Callable[[], int]) -> Baseline:
    """Time the kernel often enough to know what is usual."""
    kernel()
    told = np.array([kernel() for _ in range(_BASELINE_OF)], dtype=np.float64)
    low, middle, high = np.percentile(told, [25, 50, 75])
    return Baseline(float(middle), float((high - low) / middle) if middle else 0.0)
