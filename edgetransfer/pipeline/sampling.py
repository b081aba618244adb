"""Takes times of variants in fresh processes until they are known well enough.

It does not judge the times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.latency import Samples
from edgetransfer.measure.precision import lacking
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport.job import Effort, Guard, Job, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgetransfer.transport.place import Place

PROCESS, BLOCK, WALL, CPU, MARKED = range(5)
"""Columns of a table of times."""


@dataclass(frozen=True)
class Taken:
    """What the processes brought.

    Attributes:
        tables: for each variant int64 [n, 5]: process, block, wall ns, CPU ns, and 1 where the
            turn was disturbed.
        record: what else they told, as plain JSON: `processes` as the agent said it, and `lacking`,
            what was not known well enough when the last process allowed had ended.
    """

    tables: Mapping[str, NDArray[np.int64]]
    record: Mapping[str, Any]

    def samples(self) -> dict[str, Samples]:
        """Return what counts for the headline."""
        return {name: samples_of(table) for name, table in self.tables.items()}


def samples_of(table: NDArray[np.int64]) -> Samples:
    """Return the times of turns that were not disturbed, or all where all were.

    A whole run of disturbed turns is not valid, but it has numbers: see `measure.validity`.
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
) -> Taken:
    """Time variants against each other.

    Args:
        place: where the agent runs.
        variants: interleaved in every process.
        effort: how many processes, and how long each.
        seed: of the order of the blocks.
        room: folder for what the agent writes.
        progress: told of processes done.
    """
    parts: dict[str, list[NDArray[np.int64]]] = {each.name: [] for each in variants}
    told: list[dict[str, Any]] = []
    baseline: float | None = None
    most = max(effort.processes, effort.most)
    wanting: dict[str, tuple[str, ...]] = {}
    for process in range(most):
        guard = Guard(effort.cooldown_s, baseline)
        job = Job("time", tuple(variants), plan=effort.plan, seed=seed + process, guard=guard)
        result = dict(place.run(job, room))
        result.pop("event", None)
        told.append(result)
        baseline = _fastest(baseline, result)
        for name, rows in parts.items():
            rows.append(_table(np.load(room / f"{name}.npy"), process, name, result))
        if process + 1 < effort.processes:
            progress(process + 1, most)
            continue
        wanting = {name: lacking(samples_of(np.concatenate(rows))) for name, rows in parts.items()}
        enough = not any(wanting.values())
        progress(most if enough else process + 1, most)
        if enough:
            break
    tables = {name: np.concatenate(rows) for name, rows in parts.items()}
    return Taken(tables, {"processes": told, "lacking": {k: v for k, v in wanting.items() if v}})


def _fastest(baseline: float | None, result: Mapping[str, Any]) -> float | None:
    """Return the baseline of the probe on the coolest machine so far; a browser has none."""
    own = result.get("probe", {}).get("baseline_ns")
    return min((each for each in (baseline, own) if each is not None), default=None)


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
