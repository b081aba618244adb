"""Measures the energy of an inference, net of idling, where the machine has a counter for it."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

from edgetransfer.agent.system import REAL, System

Meter = Callable[[], Optional[float]]
_RAPL = "/sys/class/powercap/intel-rapl:[0-9]*"
_HWMON = "/sys/class/hwmon/hwmon*"
SAMPLED_S = 0.2
"""How often power is read where there is no counter of energy."""


class EnergyCounter(NamedTuple):
    """Where energy is read: so far, or, where nothing counts that, the power now.

    Method and resolution, one step of the counter, are in words.
    """

    method: str
    resolution: str
    joules: Optional[Meter] = None
    watts: Optional[Meter] = None


class EnergyClock(NamedTuple):
    """Time and waiting, so that a test can bring its own."""

    now_s: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def find_source(system: System = REAL) -> Optional[EnergyCounter]:
    """Return the best source of this machine, None where there is none that can be read."""
    return _rapl(system) or _ina3221(system) or _fuel_gauge(system)


def _rapl(system: System) -> Optional[EnergyCounter]:
    zones = [
        zone
        for zone in system.find(_RAPL)
        if zone.count(":") == 1 and system.number(zone + "/energy_uj") is not None
    ]
    if not zones:
        return None
    counters = [_Counter(system, zone) for zone in zones]
    names = ", ".join(system.read(zone + "/name") or zone for zone in zones)
    return EnergyCounter(
        "RAPL: %s" % names,
        "1 uJ as told, updated about every millisecond",
        joules=lambda: sum(counter.joules() for counter in counters),
    )


class _Counter:
    """A counter of RAPL, which starts again from 0 after some minutes."""

    def __init__(self, system: System, zone: str) -> None:
        self._system = system
        self._file = zone + "/energy_uj"
        self._range = system.number(zone + "/max_energy_range_uj") or 0
        self._last = system.number(self._file) or 0
        self._turns = 0

    def joules(self) -> float:
        now = self._system.number(self._file)
        if now is None:
            return float("nan")
        if now < self._last:
            self._turns += 1
        self._last = now
        return (now + self._turns * self._range) / 1e6


def _ina3221(system: System) -> Optional[EnergyCounter]:
    for chip in system.find(_HWMON):
        if system.read(chip + "/name") != "ina3221":
            continue
        files = {n: ("%s/in%d_input" % (chip, n), "%s/curr%d_input" % (chip, n)) for n in (1, 2, 3)}
        rails = [n for n, both in files.items() if None not in map(system.number, both)]
        labels = {n: system.read("%s/in%d_label" % (chip, n)) or "rail %d" % n for n in rails}
        used = [n for n in rails if labels[n] == "VDD_IN"] or rails
        if used:
            names = ", ".join(labels[n] for n in used)
            method = "INA3221: %s, mean of power read every %g s" % (names, SAMPLED_S)
            watts = partial(_watts_now, system, [files[n] for n in used], 1e6)
            return EnergyCounter(method, "steps of 8 mV and 40 uV over the shunt", watts=watts)
    return None


def _watts_now(system: System, files: List[Tuple[str, str]], parts: float) -> Optional[float]:
    """Return the power by files of voltage and current, of whose product so many parts are 1 W."""
    read = [system.number(file) for both in files for file in both]
    told = [each for each in read if each is not None]
    if len(told) < len(read):
        return None
    return abs(sum(volts * amperes for volts, amperes in zip(told[::2], told[1::2]))) / parts


def _fuel_gauge(system: System) -> Optional[EnergyCounter]:
    for supply in system.find("/sys/class/power_supply/*"):
        current, voltage = supply + "/current_now", supply + "/voltage_now"
        if system.read(supply + "/type") != "Battery" or system.number(current) is None:
            continue
        if system.number(voltage) is None or system.read(supply + "/status") != "Discharging":
            continue
        method = "battery gauge %s, mean of power read every %g s"
        method %= (supply.rpartition("/")[2], SAMPLED_S)
        watts = partial(_watts_now, system, [(voltage, current)], 1e12)
        return EnergyCounter(method, "as coarse as the gauge: often 1 s", watts=watts)
    return None


def measure(
    call: Callable[[], object],
    source: Optional[EnergyCounter],
    seconds: float,
    clock: EnergyClock = EnergyClock(),  # noqa: B008 (two functions)
) -> Dict[str, Any]:
    """Return the mJ of one inference, net of idling for as many seconds, or why there are none."""
    if source is None:
        return {"mj_per_inference": None, "reason": "no counter of energy can be read here"}
    idle = _watts(source, clock, seconds, None)
    busy = _watts(source, clock, seconds, call)
    if idle is None or busy is None:
        reason = "the counter of energy went away while it was read"
        return {"mj_per_inference": None, "reason": reason, "method": source.method}
    net = busy.watts - idle.watts
    told: Dict[str, Any] = {
        "method": source.method,
        "resolution": source.resolution,
        "idle_w": idle.watts,
        "busy_w": busy.watts,
        "inferences": busy.calls,
        "seconds": busy.seconds,
    }
    if net <= 0 or busy.calls == 0:
        reason = "work drew no more power than idling: too coarse, or other work went on"
        return {"mj_per_inference": None, "reason": reason, **told}
    return {"mj_per_inference": 1e3 * net * busy.seconds / busy.calls, **told}


class _Drawn(NamedTuple):
    watts: float
    calls: int
    seconds: float


def _watts(
    source: EnergyCounter, clock: EnergyClock, seconds: float, call: Optional[Callable[[], object]]
) -> Optional[_Drawn]:
    """Return the mean power over some seconds of calls, or of idling where there is none."""
    start = clock.now_s()
    first = source.joules() if source.joules else None
    read: List[Optional[float]] = []
    calls, due = 0, start
    while clock.now_s() - start < seconds:
        if source.watts and clock.now_s() >= due:
            read.append(source.watts())
            due += SAMPLED_S
        if call is None:
            clock.sleep(min(SAMPLED_S, seconds))
        else:
            call()
            calls += 1
    spent = clock.now_s() - start
    if source.joules:
        last = source.joules()
        if first is None or last is None or last != last or first != first:
            return None
        return _Drawn((last - first) / spent, calls, spent)
    told = [each for each in read if each is not None]
    return _Drawn(sum(told) / len(told), calls, spent) if told else None
