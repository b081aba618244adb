"""What the networks of a bundle are written from, shipped or tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from edgetransfer.export.onnx_bundle import BundleParts
from edgetransfer.pipeline.task import task_of

if TYPE_CHECKING:
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.target import TargetSpec


def networks(
    run: Run, fitted: FittedGraph, core: onnx.ModelProto, target: TargetSpec
) -> BundleParts:
    """Return the parts of a bundle that its networks are written from."""
    return BundleParts(
        reference=onnx.load(fitted.graph),
        core=core,
        preprocessing=fitted.preprocessing,
        tokenizer=None,
        labels=fitted.manifest.labels,
        golden=(),
        target=target,
        outputs=task_of(run.recipe).usage.outputs,
        task=run.recipe.task,
        said=fitted.said,
    )
