"""Says what a build would do, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.pipeline.bench.target_match import matches_this_machine
from edgetransfer.pipeline.cost import estimate
from edgetransfer.pipeline.task import Step, task_of

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run


def plan(run: Run) -> list[Step]:
    """List the stages of a build in order."""
    recipe = run.recipe
    steps = [Step("data", f"read, check and split {recipe.data.source}")]
    steps += task_of(recipe).plan(run)
    for target in run.targets:
        asked = recipe.quant.precision
        precision: str = asked
        if asked == "auto":
            precision = f"{target.precision}, then costlier candidates while the budget is not met"
        numbers = "accuracy as a preview; this machine is not the target, so no times"
        if matches_this_machine(target):
            numbers = "accuracy, latency, memory on this machine"
        steps += [
            Step(f"compress {target.name}", precision),
            Step(f"export {target.name}", "model, contract, golden vectors, agent"),
            Step(f"measure {target.name}", numbers),
        ]
    told = estimate(run)
    return [*steps, *([Step("time", told)] if told else [])]
