"""Reads what changes while a machine works, and waits for one that slows itself down."""

from __future__ import annotations

import os
import resource
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

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
_GLANCES, _GLANCE_S = 10, 0.01
Reading = Dict[str, object]


CPU = "/sys/devices/system/cpu/"
_FIRMWARE = "/sys/devices/platform/soc/soc:firmware/get_throttled"
_THROTTLED_BITS = {
    0: "under-voltage",
    1: "frequency capped",
    2: "throttled",
    3: "soft temperature limit",
}
"""Bits that the firmware of a Raspberry Pi sets now; 16 higher: since it was started."""
_HERTZ = os.sysconf("SC_CLK_TCK")
"""Ticks of a core in a second."""
Counters = Dict[str, int]


def used_cores() -> List[int]:
    """Return the numbers of the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def frequency_khz(system: System = REAL) -> Optional[int]:
    """Return the frequency of the fastest core in use now, None where it is not told."""
    told = [
        system.number("%scpu%d/cpufreq/scaling_cur_freq" % (CPU, core)) for core in used_cores()
    ]
    return max((each for each in told if each is not None), default=None)


def throttling(system: System = REAL) -> Counters:
    """Return every counter, bit and state that changes when the machine slows itself down."""
    found: Counters = {}
    for core in used_cores():
        for kind in ("core", "package"):
            told = system.number("%scpu%d/thermal_throttle/%s_throttle_count" % (CPU, core, kind))
            if told is not None:
                found["cpu%d %s throttle count" % (core, kind)] = told
    for device in system.find("/sys/class/thermal/cooling_device*"):
        kind_told = system.read(device + "/type") or ""
        state = system.number(device + "/cur_state")
        if state is not None and ("cpu" in kind_told or kind_told == "Processor"):
            found["%s %s" % (device.rpartition("/")[2], kind_told)] = state
    bits = _bits(system.read(_FIRMWARE))
    if bits is not None:
        found["firmware throttle bits"] = bits
    return found


def is_state(name: str) -> bool:
    """Tell a cooling device, whose number says what is now, from a counter, which only grows.

    >>> is_state("cooling_device0 Processor"), is_state("cpu0 core throttle count")
    (True, False)
    """
    return name.startswith("cooling_device")


class Sensors(NamedTuple):
    """Where the guard looks, so that a test can bring its own.

    The fixed kernel's time, what changes when the machine throttles, and the frequency of the
    fastest core in use.
    """

    kernel_ns: Callable[[], int]
    counters: Callable[[], Mapping[str, int]] = throttling
    frequency_khz: Callable[[], Optional[int]] = frequency_khz
    sleep: Callable[[float], None] = time.sleep


class ThrottleWatch:
    """Marks turns that a slower machine disturbed.

    The kernel takes `baseline_ns` when the machine is fresh; it waits for the machine `cooldown_s`,
    all turns together.
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
            usual = self._first if is_state(name) else self._before
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


def throttle_bits(system: System = REAL) -> Optional[int]:
    """Return the bits of a Raspberry Pi's firmware, by file or by its program; None elsewhere."""
    return _bits(system.read(_FIRMWARE) or system.ask(["vcgencmd", "get_throttled"]))


def _bits(told: Optional[str]) -> Optional[int]:
    try:
        return None if told is None else int(told.rpartition("=")[2], 16)
    except ValueError:  # a firmware that says something else
        return None


def named_bits(bits: int) -> List[str]:
    """Say in words what a Raspberry Pi's firmware tells.

    >>> named_bits(0x50005)
    ['under-voltage', 'throttled', 'under-voltage since start', 'throttled since start']
    """
    now = [word for bit, word in _THROTTLED_BITS.items() if bits >> bit & 1]
    ever = [word + " since start" for bit, word in _THROTTLED_BITS.items() if bits >> bit + 16 & 1]
    return now + ever


def temperatures(system: System = REAL) -> Dict[str, float]:
    """Return what each sensor tells, in degrees Celsius."""
    found: Dict[str, float] = {}
    for zone in system.find("/sys/class/thermal/thermal_zone*"):
        told = system.number(zone + "/temp")
        if told is not None:
            name = "%s %s" % (zone.rpartition("/")[2], system.read(zone + "/type") or "")
            found[name.strip()] = told / 1000 if abs(told) >= 1000 else float(told)
    return found


def pressure(system: System = REAL) -> Optional[float]:
    """Return the share of the last ten seconds that some task waited for a core, in percent."""
    for word in (system.read("/proc/pressure/cpu") or "").split():
        if word.startswith("avg10="):
            return float(word[len("avg10=") :])
    return None


def others_run(system: System = REAL) -> bool:
    """Look some times whether a task beside this one has a core or waits for one.

    That is what the kernel counts in ``/proc/loadavg`` (proc(5)), this task with it; where it is
    not told, it may be so. The load average itself holds the last minute of our own work too.
    """
    busy = 0
    for _ in range(_GLANCES):
        told = (system.read("/proc/loadavg") or "").split()
        if len(told) < 4:
            return True
        busy += int(told[3].partition("/")[0]) > 1
        time.sleep(_GLANCE_S)
    return 2 * busy > _GLANCES


def ticks(system: System = REAL) -> Optional[Dict[str, int]]:
    """Return ticks of all cores since start: in all, idle, and stolen by a hypervisor."""
    for line in (system.read("/proc/stat") or "").splitlines():
        if line.startswith("cpu "):
            told = [int(each) for each in line.split()[1:9]]
            if len(told) == 8:
                return {"all": sum(told), "idle": told[3] + told[4], "stolen": told[7]}
    return None


def core_seconds(before: Any, after: Any) -> Dict[str, float]:  # noqa: ANN401 (what `ticks` gave)
    """Return what all cores did between two readings of `ticks`, in seconds of one core.

    >>> once = {"all": 0, "idle": 0, "stolen": 0}
    >>> core_seconds(once, {"all": 200, "idle": 100, "stolen": 5}) if _HERTZ == 100 else {}
    {'cores_s': 2.0, 'busy_s': 1.0, 'stolen_s': 0.05}
    >>> core_seconds(None, None)
    {}
    """
    if before is None or after is None:
        return {}
    spent = {key: (after[key] - before[key]) / _HERTZ for key in after}
    busy = spent["all"] - spent["idle"]
    return {"cores_s": spent["all"], "busy_s": busy, "stolen_s": spent["stolen"]}


def power(system: System = REAL) -> Dict[str, object]:
    """Return whether the machine runs from a battery, and how full that is."""
    found: Dict[str, object] = {"source": None, "battery_pct": None}
    for supply in system.find("/sys/class/power_supply/*"):
        kind = system.read(supply + "/type")
        if kind == "Battery":
            found["battery_pct"] = system.number(supply + "/capacity")
            if system.read(supply + "/status") == "Discharging":
                found["source"] = "battery"
            elif found["source"] is None:
                found["source"] = "mains"
        elif kind in ("Mains", "USB") and system.number(supply + "/online") == 1:
            found["source"] = found["source"] or "mains"
    return found


def load_average() -> Optional[float]:
    """Return the load of the last minute, None where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def snapshot(system: System = REAL) -> Dict[str, object]:
    """Return all that changes, at this moment, as plain JSON values."""
    bits = throttle_bits(system)
    return {
        "temperatures_c": temperatures(system),
        "throttling": throttling(system),
        "throttle_bits": None if bits is None else named_bits(bits),
        "frequency_khz": frequency_khz(system),
        "pressure_pct": pressure(system),
        "ticks": ticks(system),
        "load_average": load_average(),
        "power": power(system),
        "involuntary_switches": resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw,
    }


def stolen_pct(before: Any, after: Any) -> Optional[float]:  # noqa: ANN401 (what `ticks` gave)
    """Return the share of the busy time between two readings that a hypervisor took.

    >>> stolen_pct({"all": 100, "idle": 50, "stolen": 0}, {"all": 200, "idle": 100, "stolen": 5})
    10.0
    """
    used = core_seconds(before, after)
    return round(100 * used["stolen_s"] / used["busy_s"], 2) if used.get("busy_s", 0) > 0 else None
