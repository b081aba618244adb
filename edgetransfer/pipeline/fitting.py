"""From the recipe to a fitted float graph, by the method it names.

It does not know targets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.pipeline.opening import OpenedBackbone
from edgetransfer.pipeline.own_model import take_fitted
from edgetransfer.pipeline.probing import fit_head, read_head
from edgetransfer.pipeline.reading import read_data
from edgetransfer.pipeline.tracing import Fitted, keep_graph, traced
from edgetransfer.transfer.classifier import Classifier

if TYPE_CHECKING:
    import onnx

    from edgetransfer.graph.prepare import Batch
    from edgetransfer.pipeline.run import Run


def fit(run: Run) -> Fitted:
    """Run every stage up to the traced float network; ``auto`` takes the probe."""
    manifest = read_data(run)
    if run.recipe.fit.method == "none":
        return take_fitted(run, manifest)
    opened = OpenedBackbone(run, manifest)
    kept, record = fit_head(run, manifest, opened)
    network = Classifier(opened.backbone.network, read_head(kept))
    if run.recipe.fit.method == "finetune":
        from edgetransfer.pipeline.finetuning import finetune

        kept, record = finetune(run, manifest, opened, network, kept)
    facts = {"backbone": opened.card, "fit": record}

    def prove(examples: Batch) -> tuple[onnx.ModelProto, dict[str, Any]]:
        return traced(network, examples)

    return keep_graph(run, manifest, opened.backbone, kept.key, facts, prove)
