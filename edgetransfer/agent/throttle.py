"""Watches for a machine that slows itself down while variants are timed, and waits for it.

It does not drop a sample: it marks the turn that was disturbed.
"""

from __future__ import annotations

import time
from typing import Callable, Dict, List, Mapping, NamedTuple, Optional

from edgetransfer.agent import conditions
from edgetransfer.agent.system import REAL, System

SLOWER_BY = 1.10
"""Times the baseline over which the kernel says that the machine is slower.

Source: Jetpack Microbenchmark's thermal throttle detection, which uses the same.
"""
COOL_BELOW = 1.03
"""Times the baseline under which the machine has recovered."""
FREQUENCY_SHARE = 0.9
"""Share of the first frequency under which a core counts as slowed."""
NAP_S = 0.25

Reading = Dict[str, object]


class Sensors(NamedTuple):
    """Where the guard looks, so that a test can bring its own.

    Attributes:
        kernel_ns: times the fixed kernel.
        counters: what changes when the machine throttles.
        frequency_khz: of the fastest core in use.
        sleep: waits.
    """

    kernel_ns: Callable[[], int]
    counters: Callable[[], Mapping[str, int]]
    frequency_khz: Callable[[], Optional[int]]
    sleep: Callable[[float], None] = time.sleep


def sensors(kernel_ns: Callable[[], int], system: System = REAL) -> Sensors:
    """Return the sensors of this machine."""
    return Sensors(
        kernel_ns,
        lambda: conditions.throttling(system),
        lambda: conditions.frequency_khz(system),
    )


class Guard:
    """Marks turns that a slower machine disturbed.

    Args:
        sensors: where it looks.
        baseline_ns: what the kernel takes when the machine is fresh.
        cooldown_s: how long it waits for the machine, all turns together.
    """

    def __init__(self, sensors: Sensors, baseline_ns: float, cooldown_s: float) -> None:
        self._sensors = sensors
        self._baseline_ns = baseline_ns
        self._left_s = cooldown_s
        self._frequency: Optional[int] = None
        self._first = sensors.counters()
        self._before: Mapping[str, int] = self._first
        self._kernel_ns = 0
        self.waited_s = 0.0

    def begin(self) -> None:
        """Look before a turn."""
        self._before = self._sensors.counters()
        self._kernel_ns = self._sensors.kernel_ns()

    def end(self) -> Reading:
        """Look after it, and return what was seen, with `marks` in words where it was disturbed."""
        frequency = self._sensors.frequency_khz()
        if self._frequency is None:
            self._frequency = frequency
        marks = self._marks(frequency, self._sensors.counters())
        return {"probe_ns": self._kernel_ns, "frequency_khz": frequency, "marks": marks}

    def _marks(self, frequency: Optional[int], counters: Mapping[str, int]) -> List[str]:
        marks = []
        if self._kernel_ns > SLOWER_BY * self._baseline_ns:
            marks.append("probe")
        for name, told in sorted(counters.items()):
            usual = self._first if conditions.is_state(name) else self._before
            if told > usual.get(name, told):
                marks.append(name)
        first = self._frequency
        if frequency is not None and first is not None and frequency < FREQUENCY_SHARE * first:
            marks.append("frequency")
        return marks

    def cool_down(self) -> None:
        """Wait until the kernel is as fast as it was, or until no time for that is left."""
        while self._left_s > 0:
            nap = min(NAP_S, self._left_s)
            self._sensors.sleep(nap)
            self._left_s -= nap
            self.waited_s += nap
            if self._sensors.kernel_ns() < COOL_BELOW * self._baseline_ns:
                return
