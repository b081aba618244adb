"""From the recipe to a fitted float graph, by the method it names; a teacher is fitted first.

It does not know targets.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgetransfer.pipeline.own_model import take_fitted
from edgetransfer.pipeline.reading import read_data
from edgetransfer.pipeline.soundness import examine
from edgetransfer.pipeline.tracing import Fitted, keep_graph, traced
from edgetransfer.pipeline.training import fit_network

if TYPE_CHECKING:
    import onnx

    from edgetransfer.graph.prepare import Batch
    from edgetransfer.pipeline.run import Run


def fit(run: Run) -> Fitted:
    """Run every stage up to the traced float network."""
    manifest = read_data(run)
    if run.recipe.fit.method == "none":
        return take_fitted(run, manifest)
    teaching = None
    if run.teacher is not None:
        from edgetransfer.pipeline.distilling import teach

        manifest, teaching = teach(run, manifest)
    student = fit_network(run, manifest, teaching)
    run.team.part()
    facts: dict[str, Any] = {"backbone": student.opened.card, "fit": student.record}

    def prove(examples: Batch) -> tuple[onnx.ModelProto, dict[str, Any]]:
        return traced(student.network, examples)

    fitted = keep_graph(run, manifest, student.opened.backbone, student.kept.key, facts, prove)
    facts = {**fitted.facts, "soundness": examine(run, student, fitted)}
    if run.choice is not None:
        facts["choice"] = run.choice
    return replace(fitted, facts=facts, unlabelled=() if teaching is None else teaching.unlabelled)
