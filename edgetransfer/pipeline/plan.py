"""Says what a build would do, before any work.

It does not read the data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.pipeline.judging import matches_this_machine

if TYPE_CHECKING:
    from edgetransfer.pipeline.run import Run


@dataclass(frozen=True)
class Step:
    """One stage and what it would do."""

    stage: str
    what: str


def plan(run: Run) -> list[Step]:
    """List the stages of a build in order."""
    recipe = run.recipe
    steps = [Step("data", f"read, check and split {recipe.data.source}")]
    if recipe.fit.method == "none":
        steps.append(Step("trace", f"take {run.source.name} as it is, clean it, prove parity"))
    else:
        steps += [
            Step("backbone", f"open {run.source.name} ({run.source.layout}), trace it frozen"),
            Step("features", "run it over training and validation examples"),
            Step("probe", "logistic regression, strength by cross-validation"),
        ]
        if recipe.fit.method == "finetune":
            steps.append(Step("finetune", f"all layers, at most {recipe.fit.epochs} epochs"))
        steps.append(Step("trace", "float ONNX, parity with torch on real examples"))
    for target in run.targets:
        asked = recipe.quant.precision
        precision = target.precision if asked == "auto" else asked
        here = matches_this_machine(target)
        steps += [
            Step(f"compress {target.name}", precision),
            Step(f"export {target.name}", "model, contract, golden vectors, agent"),
            Step(
                f"measure {target.name}",
                "accuracy, latency, memory on this machine"
                if here
                else "accuracy as a preview; this machine is not the target, so no times",
            ),
        ]
    return steps
