"""Says which rules of the timing protocol a run broke: its times then rank and decide nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

FEWEST_PROCESSES = 2
"""One process has one layout of memory: what differs between processes would not show."""
DISTURBED_SHARE = 0.25
"""Share of disturbed turns over which too little is left of a run that was interleaved; those that
were taken again do not count, but their second tries."""
NEAR_FLOOR = 0.05
"""Share of a median that a model which does nothing takes, over which it is told."""
MOSTLY_FLOOR = 0.5
"""Share over which a time says more of the runtime than of the model."""
STOLEN_PCT = 5.0


def block(
    timing: Mapping[str, Mapping[str, Any]], medians_ms: Mapping[str, float]
) -> dict[str, Any]:
    """Return the validity block of a report: plain JSON values.

    `timing` has what was kept of each series beside its times, see `violations`.
    """
    broken = [each for one in timing.values() for each in violations(one)]
    noted = [each for one in timing.values() for each in warnings(one)]
    cold = [name for one in timing.values() for name, n in _cold(one["processes"]).items() if n]
    for one in timing.values():
        for name in one["processes"][0]["warmed_up"]:
            share = floor_share(one, medians_ms[name])
            if share > NEAR_FLOOR:
                (broken if share > MOSTLY_FLOOR else noted).append(
                    f"{name}: a model that does nothing takes "
                    f"{1e3 * share * medians_ms[name]:.1f} us, {100 * share:.0f} % of the median"
                )
    return {
        "valid": not broken,
        "violations": broken,
        "warnings": noted,
        "not_warmed_up": cold,
        "series": {name: _series(one) for name, one in timing.items()},
    }


def _series(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was seen of one series."""
    processes: Sequence[Mapping[str, Any]] = record["processes"]
    turns, disturbed = disturbed_turns(record)
    names = processes[0]["warmed_up"]
    return {
        "processes": len(processes),
        "turns": turns,
        "disturbed_turns": disturbed,
        "disturbed_by": dict(sorted(marks_of(record).items())),
        "waited_s": sum(each["waited_s"] for each in processes),
        "lacking": record["lacking"],
        "floor_us": round(min(each["floor_ns"] for each in processes) / 1e3, 2),
        "probe_us": [round(each["probe"]["baseline_ns"] / 1e3, 2) for each in processes],
        "probe_rel_iqr": round(max(each["probe"]["rel_iqr"] for each in processes), 4),
        **{
            key: {name: [round(each[key][name], 3) for each in processes] for name in names}
            for key in ("load_ms", "first_inference_ms")
        },
    }


def violations(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the rules that one series of times broke, in words; none where it is valid.

    Args:
        record: what `pipeline.bench.times` kept of the series: `processes`, and `judged_outputs`
            where the outputs were judged.
    """
    processes: Sequence[Mapping[str, Any]] = record["processes"]
    found = []
    if len(processes) < FEWEST_PROCESSES:
        found.append(f"times of {len(processes)} process, not of {FEWEST_PROCESSES} at least")
    found += [
        f"{name} did not settle in the warm-up of most processes"
        for name, cold in _cold(processes).items()
        if 2 * cold > len(processes)
    ]
    standing = [turn for process in processes for turn in _standing(process)]
    disturbed = sum(bool(turn["marks"]) for turn in standing)
    if disturbed > DISTURBED_SHARE * len(standing):
        why = " and ".join(sorted(marks_of(record)))
        found.append(f"the machine was slower in {disturbed} of {len(standing)} turns ({why})")
    found += [
        f"the timed session of {name} does not give the judged outputs"
        for name in _other_outputs(record)
    ]
    return tuple(found)


def warnings(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what a reader of one series should know, though it is valid."""
    processes: Sequence[Mapping[str, Any]] = record["processes"]
    count = len(processes)
    found = [
        f"{name} did not settle in the warm-up of {cold} of {count} processes"
        for name, cold in _cold(processes).items()
        if 0 < 2 * cold <= count
    ]
    found += [
        f"{name}: {'; '.join(lacks)} after {count} processes"
        for name, lacks in record["lacking"].items()
    ]
    stolen = [each["stolen_pct"] for each in processes if each.get("stolen_pct") is not None]
    if stolen and max(stolen) > STOLEN_PCT:
        found.append(f"a hypervisor took up to {max(stolen):.0f} % of the cores' busy time")
    return tuple(found)


def floor_share(record: Mapping[str, Any], p50_ms: float) -> float:
    """Return which share of a median a model that does nothing takes.

    >>> floor_share({"processes": [{"floor_ns": 5_000}]}, 0.05)
    0.1
    """
    floor_ns: float = min(each["floor_ns"] for each in record["processes"])
    return floor_ns / (p50_ms * 1e6) if p50_ms > 0 else 0.0


def disturbed_turns(record: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many turns were taken, and how many of them the machine was slower in."""
    turns = [turn for process in record["processes"] for turn in process["turns"]]
    return len(turns), sum(bool(turn["marks"]) for turn in turns)


def _standing(process: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the turns of a process but those that were taken again: see `agent.timing.measure`."""
    turns = process["turns"]
    again = {
        number
        for number, (turn, after) in enumerate(pairwise(turns))
        if after["name"] == turn["name"] and after["block"] < turn["block"]
    }
    return [turn for number, turn in enumerate(turns) if number not in again]


def marks_of(record: Mapping[str, Any]) -> Counter[str]:
    """Count by what a slower machine showed itself."""
    return Counter(
        mark
        for process in record["processes"]
        for turn in process["turns"]
        for mark in turn["marks"]
    )


def _cold(processes: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return in how many processes each variant had not settled."""
    return {
        name: sum(not each["warmed_up"][name] for each in processes)
        for name in processes[0]["warmed_up"]
    }


def _other_outputs(record: Mapping[str, Any]) -> list[str]:
    """Name the variants whose timed sessions gave other outputs than those judged, bit by bit.

    A variant that was not judged is held against itself: before and after, process by process.
    """
    told: dict[str, set[str]] = {}
    for process in record["processes"]:
        for name, digests in process.get("outputs", {}).items():
            told.setdefault(name, set()).update(digests)
    for name, digest in record.get("judged_outputs", {}).items():
        if name in told:
            told[name].add(digest)
    return [name for name, digests in told.items() if len(digests) > 1]
