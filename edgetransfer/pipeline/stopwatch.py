"""Times models against each other on this machine: the agent, in fresh processes.

It does not judge the times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.bundle.agent_archive import pack_agent
from edgetransfer.graph.prepare import TextPreparer, stack, write_each
from edgetransfer.measure.latency import Samples
from edgetransfer.transport import local
from edgetransfer.transport.job import EFFORTS, Job, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.spec.target import TargetSpec
    from edgetransfer.transport.job import InputFiles

TIMED_INPUTS = 8


def input_files(prepare: Preparer, examples: Sequence[Example], room: Path) -> InputFiles:
    """Write a few prepared examples where the agent finds them."""
    few = examples[:TIMED_INPUTS]
    if isinstance(prepare, TextPreparer):
        return write_each(prepare.prepare, few, room)
    return stack(prepare.prepare, few, room)


def variants_of(
    models: Mapping[str, Path], files: InputFiles, target: TargetSpec, threads: int | None
) -> tuple[Variant, ...]:
    """Return models as the agent takes them, run as the target runs them."""
    session, runtime = target.session, target.runtime
    return tuple(
        Variant(
            name,
            str(model),
            files,
            threads=threads or session.threads,
            config=dict(session.config),
            provider=runtime.provider if runtime else "CPUExecutionProvider",
        )
        for name, model in models.items()
    )


def take_times(variants: Sequence[Variant], room: Path) -> dict[str, Samples]:
    """Time variants in interleaved blocks with the quick effort; samples by their names."""
    agent, effort = room / "agent.pyz", EFFORTS["quick"]
    pack_agent(agent)
    tables: dict[str, list[Any]] = {each.name: [] for each in variants}
    for process in range(effort.processes):
        local.run(agent, Job("time", tuple(variants), plan=effort.plan, seed=process), room)
        for name, parts in tables.items():
            parts.append(np.load(room / f"{name}.npy"))
    return {name: Samples.from_processes(parts) for name, parts in tables.items()}
