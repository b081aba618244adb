"""Says how much a device slows down when it works for minutes without a rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgetransfer.measure.stats.intervals import quantile

STEADY_SHARE = 0.25
"""Last part of a series that is taken for what the device can keep up."""
FEWEST_WINDOWS = 4
OTHERS_SHARE = 0.2
"""Share of all cores' time that other processes may take in a window,"""
DISTURBED_SHARE = 0.25
"""and share of windows in which they may take more. The first may not be among them."""
WAITED_SHARE = 0.1
"""Share of its time that a process which computes may be without a core."""
STOLEN_SHARE = 0.05
"""Share of the busy time that a hypervisor may take."""
SLOWED, KEPT = 1.1, 1.03
"""How much slower inferences show, and how much slower the machine is taken to be the same."""


def summarise_series(series: Sequence[Mapping[str, Any]], *, on_cpu: bool = True) -> dict[str, Any]:
    """Return the report's block `sustained` from a row a window, see `agent.benchmark`.

    Cool is the first window; steady the median of the last quarter of all. What is lost is lost of
    the inferences a second: twice the time is 50 % fewer. Where other work may have done it, there
    are `violations` and no such numbers.

    Args:
        series: rows in the order of time.
        on_cpu: whether the processor computes, so that an inference waits for nothing else.

    >>> rows = [{"at_s": 5.0 * i, "n": 10, "p50_ms": ms} for i, ms in enumerate([8, 8, 10, 10])]
    >>> found = summarise_series(rows, on_cpu=False)
    >>> found["cool_p50_ms"], found["steady_p50_ms"], found["drop_pct"]
    (8.0, 10.0, 20.0)
    """
    medians = np.array([row["p50_ms"] for row in series], dtype=np.float64)
    last = max(1, round(STEADY_SHARE * len(medians)))
    cool, steady = float(medians[0]), quantile(medians[-last:], 0.5)
    hottest = [max(row["temperatures_c"].values()) for row in series if row.get("temperatures_c")]
    broken = violations(series, steady / cool, on_cpu=on_cpu)
    times = {
        "cool_p50_ms": cool,
        "steady_p50_ms": steady,
        "slowest_p50_ms": float(medians.max()),
        "drop_pct": round(100 * (1 - cool / steady), 2),
    }
    return {
        "valid": not broken,
        "violations": list(broken),
        "windows": len(series),
        "inferences": sum(row["n"] for row in series),
        **({} if broken else times),
        "hottest_c": max(hottest, default=None),
        "throttled_by": _throttled(series),
        "series": list(series),
    }


def violations(
    series: Sequence[Mapping[str, Any]], slower: float, *, on_cpu: bool
) -> tuple[str, ...]:
    """Say why a series tells nothing of how the device itself slows down; nothing where it does.

    `slower`: how many times as long an inference took at last; `on_cpu`: see `summarise_series`.
    """
    found = []
    if len(series) < FEWEST_WINDOWS:
        found.append(f"{len(series)} windows, not {FEWEST_WINDOWS} at least: let it work longer")
    others = [_others(row) for row in series]
    busy = [share for share in others if share > OTHERS_SHARE]
    if others[0] > OTHERS_SHARE or len(busy) > DISTURBED_SHARE * len(series):
        found.append(
            f"other processes took up to {100 * max(others):.0f} % of the cores, in {len(busy)} of "
            f"{len(series)} windows"
        )
    stolen = max(row.get("stolen_s", 0.0) / max(row.get("busy_s", 0.0), 1e-9) for row in series)
    if stolen > STOLEN_SHARE:
        found.append(f"a hypervisor took up to {100 * stolen:.0f} % of the cores' busy time")
    if on_cpu:
        found += _not_its_own(series, slower)
    return tuple(found)


def _others(row: Mapping[str, Any]) -> float:
    """Return the share of all cores' time that other processes took, 0 where it was not told."""
    if not row.get("cores_s"):
        return 0.0
    return float(max(0.0, row["busy_s"] - row["stolen_s"] - row["own_s"]) / row["cores_s"])


def energy_of_its_own(rows: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the report's block `energy`: no number where a counter saw other work too.

    >>> row = {"mj_per_inference": 3.0, "own_s": 10, "busy_s": 30, "stolen_s": 0, "cores_s": 40}
    >>> energy_of_its_own({"candidate": row})["candidate"]["mj_per_inference"] is None
    True
    """
    found = {name: dict(row) for name, row in rows.items()}
    for row in found.values():
        share = _others(row)
        if share > OTHERS_SHARE and row["mj_per_inference"] is not None:
            told = f"other processes took {100 * share:.0f} % of the cores, whose energy counts too"
            row |= {"mj_per_inference": None, "reason": f"INVALID: {told}"}
    return found


def _not_its_own(series: Sequence[Mapping[str, Any]], slower: float) -> Iterator[str]:
    """Say what shows that a processor which computes was kept from it, or was not what slowed."""
    waits = [1 - row["own_s"] / row["elapsed_s"] for row in series if row.get("elapsed_s")]
    waited = [share for share in waits if share > WAITED_SHARE]
    if waits and (waits[0] > WAITED_SHARE or len(waited) > DISTURBED_SHARE * len(series)):
        yield (
            f"it was without a core for up to {100 * max(waits):.0f} % of the time, in "
            f"{len(waited)} of {len(series)} windows"
        )
    if slower > SLOWED and _kept_its_pace(series):
        yield (
            f"inferences took {slower:.2f} times as long at last, and the processor was as fast as "
            "at first: other work shares its memory or caches"
        )
    if slower < 1 / SLOWED:
        yield f"inferences took {1 / slower:.2f} times as long at first: it was not a quiet start"


def _kept_its_pace(series: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether probe and frequency say so; nothing told says nothing."""
    last = max(1, round(STEADY_SHARE * len(series)))
    ratios = []
    for key, sign in (("probe_ns", 1), ("frequency_khz", -1)):
        first, told = series[0].get(key), [row.get(key) for row in series[-last:]]
        if first and all(told):
            ratios.append((float(np.median(np.array(told, dtype=np.float64))) / first) ** sign)
    return bool(ratios) and max(ratios) < KEPT and not _throttled(series)


def _throttled(series: Sequence[Mapping[str, Any]]) -> list[str]:
    first, end = series[0].get("throttling", {}), series[-1].get("throttling", {})
    return sorted(name for name, told in end.items() if told > first.get(name, told))


def in_words(found: Mapping[str, Any]) -> Iterator[str]:
    """Say what a block `sustained` holds.

    >>> list(in_words({"seconds": 60, "valid": False, "violations": ["1 window"]}))
    ['after 60 s of work: INVALID, it says nothing of the device: 1 window']
    """
    if not found.get("valid", True):
        why = "; ".join(found["violations"])
        yield f"after {found['seconds']:g} s of work: INVALID, it says nothing of the device: {why}"
        return
    yield (
        f"after {found['seconds']:g} s of work: p50 {found['steady_p50_ms']:.2f} ms, "
        f"{found['cool_p50_ms']:.2f} at first ({-found['drop_pct']:+.1f} % inferences a second)"
    )


def told(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what a report found of long work and of energy, a line each.

    >>> list(told({"energy": {"candidate": {"mj_per_inference": None, "reason": "no counter"}}}))
    ['energy of the candidate: no counter']
    """
    if report.get("sustained") is not None:
        yield from in_words(report["sustained"])
    for name, row in report.get("energy", {}).items():
        joules = row["mj_per_inference"]
        what = (
            row["reason"] if joules is None else f"{joules:.2f} mJ an inference ({row['method']})"
        )
        yield f"energy of the {name}: {what}"
