"""What the agent is told, as values: written as plain JSON for it by every transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.agent.main import SCHEMA
from edgetransfer.agent.outputs import MOST_OUTPUTS, output_file
from edgetransfer.agent.timing import TimingPlan

if TYPE_CHECKING:
    from edgetransfer.spec.options import TimingEffort

InputFiles = Mapping[str, str | list[str]]


@dataclass(frozen=True)
class Variant:
    """One model file with its inputs and the way its session is made.

    The runtime, a plug-in of the agent (`agent.runtimes`), writes its own graph as `optimised_to`
    into the job's folder; where it is not `fused` the graph is executed as it is written. A `batch`
    of several examples takes inputs that are stacks.
    """

    name: str
    model: str
    inputs: InputFiles = field(default_factory=dict)
    threads: int = 1
    config: Mapping[str, str] = field(default_factory=dict)
    provider: str = "CPUExecutionProvider"
    optimised_to: str | None = None
    fused: bool = True
    batch: int = 1
    runtime: str = "onnxruntime"

    @property
    def on_cpu(self) -> bool:
        """Whether the processor runs it, whose times and cores are then the model's."""
        return (self.runtime, self.provider) in ON_CPU


ONNX_ON_CPU = (("onnxruntime", "CPUExecutionProvider"), ("openvino", "OpenVINO"))
"""Runtimes of the processor that open ONNX, with what their sessions run on there."""
LITERT = ("litert", "LiteRT")
ON_CPU = (*ONNX_ON_CPU, LITERT)


@dataclass(frozen=True)
class ThrottleGuard:
    """How a process watches for a machine that slows itself down: for `agent.benchmark`.

    It waits for the machine `cooldown_s` in all; `baseline_ns` is the fastest that an earlier
    process found the probe, None for the first.
    """

    cooldown_s: float = 0.0
    baseline_ns: float | None = None


@dataclass(frozen=True)
class SustainedLoad:
    """How long the actions `sustain` and `energy` work without a rest, and a row of the series."""

    seconds: float = 0.0
    window_s: float = 5.0


@dataclass(frozen=True)
class Effort:
    """How many fresh processes take times, and how: variance between processes is part of it.

    At least `processes` of this plan; at `most` so many, while the intervals are wider than asked
    for and `budget_s` is not over. Each may wait `cooldown_s`, see `ThrottleGuard`.
    """

    processes: int
    plan: TimingPlan
    most: int = 0
    cooldown_s: float = 0.0
    budget_s: float = 30.0


EFFORTS: Mapping[TimingEffort, Effort] = {
    "quick": Effort(3, TimingPlan(blocks=12, warmup_s=0.05, warmup_max_s=1.0), most=3),
    "standard": Effort(
        5,
        TimingPlan(blocks=20, warmup_s=0.15, warmup_max_s=2.0),
        most=20,
        cooldown_s=1.0,
        budget_s=25.0,
    ),
    "thorough": Effort(
        20,
        TimingPlan(blocks=120, warmup_s=0.3, warmup_max_s=15.0),
        most=60,
        cooldown_s=20.0,
        budget_s=360.0,
    ),
}
"""By what `--timing` says. Many short processes: times of small models were found to differ by 3 %
from process to process, and by 2 % from block to block, which are cheaper."""


@dataclass(frozen=True)
class Job:
    """One thing to do in one fresh process."""

    action: Literal["outputs", "time", "sustain", "energy", "optimise", "describe", "show"]
    variants: tuple[Variant, ...] = ()
    plan: TimingPlan = field(default_factory=TimingPlan)
    seed: int = 0
    guard: ThrottleGuard = ThrottleGuard()
    sustained: SustainedLoad = SustainedLoad()


_MOST = {"outputs": 1 << 30, "time": 1 << 26}
"""Bytes of one file that a job may write: 1 GiB of an output are 268 million numbers."""
_MOST_GRAPH = 1 << 32


def written_files(job: Job) -> Mapping[str, int]:
    """Return the names of the files that a job may write, and how many bytes each may have.

    >>> written_files(Job("time", (Variant("candidate", "core.onnx"),)))
    {'candidate.npy': 67108864}
    """
    if job.action == "outputs":
        return {output_file(place): _MOST["outputs"] for place in range(MOST_OUTPUTS)}
    if job.action == "time":
        return {f"{each.name}.npy": _MOST["time"] for each in job.variants}
    named = (each.optimised_to for each in job.variants)
    return {PurePath(name).name: _MOST_GRAPH for name in named if name is not None}


SILENT_S = 300.0
"""How long an agent may say nothing beside what its job takes: a large model is loaded in less."""
_ELSEWHERE_S = 3600.0
"""More for an accelerator, whose runtime may build an engine of the model first."""
_SLOWER = 4.0


def patience_s(job: Job, *, emulated: bool = False) -> float:
    """Return for how long silence of an agent is no failure, in seconds.

    >>> patience_s(Job("describe")), patience_s(Job("sustain", sustained=SustainedLoad(600.0)))
    (300.0, 2700.0)
    """
    plan, each = job.plan, job.sustained.seconds
    if job.action == "time":
        each = plan.warmup_max_s + plan.blocks * plan.block_s + job.guard.cooldown_s
    planned = each * max(1, len(job.variants)) if job.action in ("time", "sustain", "energy") else 0
    on_cpu = all(variant.on_cpu for variant in job.variants)
    found = SILENT_S + _SLOWER * planned + (0.0 if on_cpu else _ELSEWHERE_S)
    return 10 * found if emulated else found


def plain(job: Job, out: str, put: Callable[[str], str] = str) -> dict[str, Any]:
    """Return a job as the plain JSON that the agent reads, with files as they are called there.

    The agent writes to the folder it calls `out`; `put` makes a file of this machine its own.
    """

    def there(variant: Variant) -> Variant:
        inputs = {
            name: put(files) if isinstance(files, str) else [put(file) for file in files]
            for name, files in variant.inputs.items()
        }
        written = variant.optimised_to and f"{out}/{PurePath(variant.optimised_to).name}"
        return replace(variant, model=put(variant.model), inputs=inputs, optimised_to=written)

    moved = replace(job, variants=tuple(there(each) for each in job.variants))
    return {"schema": SCHEMA, "out": out, **asdict(moved)}
