"""Times models against each other on this machine: the agent, in fresh processes.

It does not judge the times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.graph.prepare import TextPreparer, stack, write_each
from edgetransfer.measure.validity import violations
from edgetransfer.pipeline.sampling import take
from edgetransfer.transport.job import EFFORTS, Variant
from edgetransfer.transport.local import Local

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.measure.latency import Samples
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


@dataclass(frozen=True)
class Stopped:
    """Times of variants, by their names, and why they must not rank them: empty where they may."""

    samples: Mapping[str, Samples]
    violations: tuple[str, ...]


def take_times(variants: Sequence[Variant], room: Path) -> Stopped:
    """Time variants in interleaved blocks with the quick effort."""
    taken = take(Local(), tuple(variants), EFFORTS["quick"], 0, room)
    return Stopped(taken.samples(), violations(taken.record))
