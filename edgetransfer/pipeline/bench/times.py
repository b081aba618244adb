"""Times models against each other in fresh processes, until they are known well enough."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.graph.prepare import Preparer, stack, write_each
from edgetransfer.measure.speed.latency import Samples, lacking, lacking_of_ratio, speedup
from edgetransfer.measure.speed.validity import FEWEST_PROCESSES, violations
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.spec.target import Runtime, TargetSpec
from edgetransfer.transport.job import EFFORTS, Effort, InputFiles, Job, ThrottleGuard, Variant
from edgetransfer.transport.local import Local

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example
    from edgetransfer.transport.place import Place


TIMED_INPUTS = 8


def input_files(prepare: Preparer, examples: Sequence[Example], room: Path) -> InputFiles:
    """Write prepared examples where the agent finds them: texts differ in length."""
    write = stack if prepare.one_shape else write_each
    return write(prepare.prepare, examples, room)


def variants_of(
    models: Mapping[str, Path], files: InputFiles, target: TargetSpec, threads: int | None
) -> tuple[Variant, ...]:
    """Return models as the agent takes them, run as the target runs them."""
    session, runtime = target.session, target.runtime or Runtime.of_any_machine()
    return tuple(
        Variant(
            name,
            str(model),
            files,
            threads=threads or session.threads,
            config=dict(session.config),
            provider=runtime.provider,
            runtime=runtime.name,
        )
        for name, model in models.items()
    )


@dataclass(frozen=True)
class TimedModels:
    """Times of variants, by their names, and what else the processes told that took them."""

    samples: Mapping[str, Samples]
    record: Mapping[str, Any]

    def violations(self, names: Collection[str] | None = None) -> tuple[str, ...]:
        """Return why times of some variants, or of all, must not rank them: empty where they may.

        What befell the others counts for nothing.
        """
        wanted = self.samples.keys() if names is None else set(names)
        kept = []
        for process in self.record["processes"]:
            told = {key: process.get(key, {}) for key in ("warmed_up", "outputs")}
            own = {key: {n: each[n] for n in each if n in wanted} for key, each in told.items()}
            turns = [turn for turn in process["turns"] if turn["name"] in wanted]
            kept.append({**process, **own, "turns": turns})
        return violations({**self.record, "processes": kept})


def take_times(variants: Sequence[Variant], room: Path, *, fewest: bool = False) -> TimedModels:
    """Time variants in interleaved blocks with the quick effort, or in the fewest processes."""
    effort = EFFORTS["quick"]
    if fewest:
        effort = replace(effort, processes=FEWEST_PROCESSES, most=FEWEST_PROCESSES)
    taken = take(Local(), tuple(variants), effort, 0, room)
    return TimedModels(taken.samples(), taken.record)


PROCESS, BLOCK, WALL, CPU, MARKED = range(5)
"""Columns of a table of times."""


@dataclass(frozen=True)
class TimesTaken:
    """What the processes brought.

    Attributes:
        tables: for each variant int64 [n, 5]: process, block, wall ns, CPU ns, and 1 where the
            turn was disturbed.
        record: what else they told, as plain JSON: `processes` as the agent said it, `lacking`,
            what was not known well enough at the end, and `stopped`, why no more were taken:
            `precise`, `processes` (the most allowed) or `seconds` (the budget).
    """

    tables: Mapping[str, NDArray[np.int64]]
    record: Mapping[str, Any]

    def samples(self) -> dict[str, Samples]:
        """Return what counts for the headline."""
        return {name: samples_of(table) for name, table in self.tables.items()}


def samples_of(table: NDArray[np.int64]) -> Samples:
    """Return the times of turns that were not disturbed, or all where all were.

    A whole run of disturbed turns is not valid, but it has numbers: see `measure.speed.validity`.
    """
    calm = table[table[:, MARKED] == 0]
    return Samples(*(calm if len(calm) else table)[:, :MARKED].T)


def take(
    place: Place,
    variants: Sequence[Variant],
    effort: Effort,
    seed: int,
    room: Path,
    progress: Progress = silent,
) -> TimesTaken:
    """Time variants, interleaved in every process; `seed` is of the order of the blocks."""
    parts: dict[str, list[NDArray[np.int64]]] = {each.name: [] for each in variants}
    told: list[dict[str, Any]] = []
    baseline: float | None = None  # of the probe, on the coolest machine so far
    most, start = max(effort.processes, effort.most), time.monotonic()
    stopped: str | None = None
    wanting: dict[str, tuple[str, ...]] = {}
    while stopped is None:
        guard = ThrottleGuard(effort.cooldown_s, baseline)
        process = len(told)
        job = Job("time", tuple(variants), plan=effort.plan, seed=seed + process, guard=guard)
        result = dict(place.run(job, room))
        result.pop("event", None)
        told.append(result)
        own = result.get("probe", {}).get("baseline_ns")  # a browser has none
        baseline = min((each for each in (baseline, own) if each is not None), default=None)
        for name, rows in parts.items():
            rows.append(_table(np.load(room / f"{name}.npy"), process, name, result))
        if len(told) >= effort.processes:
            wanting = _wanting(parts)
            late = time.monotonic() - start > effort.budget_s
            full = "processes" if len(told) >= most else "seconds" if late else None
            stopped = full if wanting else "precise"
        progress(most if stopped else len(told), most)
    tables = {name: np.concatenate(rows) for name, rows in parts.items()}
    return TimesTaken(tables, {"processes": told, "lacking": wanting, "stopped": stopped})


def _wanting(parts: Mapping[str, Sequence[NDArray[np.int64]]]) -> dict[str, tuple[str, ...]]:
    """Return what is not known well enough of each variant; those of which all is are left out."""
    samples = {name: samples_of(np.concatenate(rows)) for name, rows in parts.items()}
    first, *others = samples
    found = {name: lacking(each) for name, each in samples.items()}
    for name in others:
        if wide := lacking_of_ratio(speedup(samples[first], samples[name]).wall):
            found[name] += (f"{wide} against {first}",)
    return {name: lacks for name, lacks in found.items() if lacks}


def _table(
    rows: NDArray[np.int64], process: int, name: str, result: Mapping[str, Any]
) -> NDArray[np.int64]:
    """Put the number of the process before, and whether the turn was disturbed behind."""
    disturbed = [
        turn["block"]
        for turn in result.get("turns", ())
        if turn["name"] == name and turn.get("marks")
    ]
    marked = np.isin(rows[:, 0], disturbed).astype(np.int64)
    return np.column_stack([np.full(len(rows), process, np.int64), rows, marked])
