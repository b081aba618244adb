"""From the recipe to a fitted float graph, by the method it names; a teacher is fitted first."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.tasks.classification.judge.metrics import LOGITS, changed_outputs

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.pipeline.fit.trace import Prove
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.tasks.classification.fit.fitted import FittedNetwork


def fit(run: Run) -> FittedGraph:
    """Run every stage up to the traced float network; torch is loaded once the data are read."""
    manifest = read_data(run)
    return _take(run, manifest) if run.recipe.fit.method == "none" else _fit(run, manifest)


def _take(run: Run, manifest: Manifest) -> FittedGraph:
    from edgetransfer.tasks.classification.own.own_model import take_fitted
    from edgetransfer.tasks.classification.study.soundness import untested

    taken = take_fitted(run, manifest)
    block = untested("the model came fitted, so that nothing was transferred here")
    return replace(taken, facts={**taken.facts, "soundness": block})


def _fit(run: Run, manifest: Manifest) -> FittedGraph:
    from edgetransfer.pipeline.fit.trace import keep_graph
    from edgetransfer.pipeline.fit.unlabelled import read_unlabelled
    from edgetransfer.tasks.classification.checks.soundness import examine
    from edgetransfer.tasks.classification.fit.network import fit_network

    teaching = adapted = None
    if run.teacher is not None:
        from edgetransfer.tasks.classification.fit.distil import teach

        manifest, teaching = teach(run, manifest)
    if run.recipe.adapts:
        from edgetransfer.tasks.classification.fit.adaptation.adapt import adapt

        adapted = adapt(run, manifest)
        manifest, student = adapted.manifest, adapted.student
    elif run.recipe.guesses:
        from edgetransfer.tasks.classification.fit.text.self_training import refuse_pictures

        refuse_pictures(run, manifest)
        more = read_unlabelled(run, manifest)
        manifest = replace(manifest, notes=(*manifest.notes, *more.notes))
        student = fit_network(run, manifest, more=more.examples)
    else:
        student = fit_network(run, manifest, teaching)
    run.team.part()
    facts: dict[str, Any] = {"backbone": student.opened.card, "fit": student.record}
    fitted = keep_graph(
        run, manifest, student.opened.backbone, student.kept.key, facts, _prover(student)
    )
    facts = {**fitted.facts, "soundness": examine(run, student, fitted)}
    if student.labels is not None:
        facts["labelling"] = student.labels
    if run.choice is not None:
        facts["choice"] = run.choice
    if adapted is not None:
        facts["adaptation"] = adapted.block
    beside = teaching or adapted or student
    return replace(fitted, facts=facts, unlabelled=beside.unlabelled)


def _prover(student: FittedNetwork) -> Prove:
    """Return what makes the graph of a fitted network: its backbone's with a head, where it is."""
    from edgetransfer.backbone.model import linear_head
    from edgetransfer.pipeline.fit.trace import headed, traced

    network = student.network
    if not student.frozen:
        return partial(traced, network, outputs=(LOGITS,), changed=changed_outputs)
    head, graph = linear_head(network.head), student.opened.graph
    return lambda inputs: headed(network, head, graph, inputs, LOGITS, changed_outputs)
