"""What the agent is told, as values: written as plain JSON for it by every transport.

It does not say where the agent runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edgetransfer.spec.words import TimingEffort

InputFiles = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Variant:
    """One model file with its inputs and the way its session is made."""

    name: str
    model: str
    inputs: InputFiles = field(default_factory=dict)
    threads: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
    provider: str = "CPUExecutionProvider"
    optimised_to: str | None = None


@dataclass(frozen=True)
class TimingPlan:
    """How long each fresh process warms up and measures, per variant: for `agent.timing.Plan`."""

    blocks: int = 8
    block_s: float = 0.25
    warmup_s: float = 0.3
    warmup_max_s: float = 5.0


@dataclass(frozen=True)
class Effort:
    """How many fresh processes take times, and how: variance between processes is part of it."""

    processes: int
    plan: TimingPlan


EFFORTS: Mapping[TimingEffort, Effort] = {
    "standard": Effort(3, TimingPlan()),
    "quick": Effort(2, TimingPlan(blocks=4, block_s=0.05, warmup_s=0.05, warmup_max_s=1.0)),
}
"""By what `--timing` says; both give the six pairs of blocks that an interval needs."""


@dataclass(frozen=True)
class Job:
    """One thing to do in one fresh process."""

    action: Literal["logits", "time", "optimise", "describe"]
    variants: tuple[Variant, ...] = ()
    plan: TimingPlan = TimingPlan()
    seed: int = 0
