"""From the recipe to a fitted float graph, by the method it names, and what that would do."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.task import Step
from edgetransfer.spec.options import AUTO
from edgetransfer.tasks.classification.judge.metrics import LOGITS, changed_outputs

if TYPE_CHECKING:
    from edgetransfer.backbone.model import Source
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.pipeline.fit.trace import Prove
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.tasks.classification.fit.probe import FittedNetwork


def plan(run: Run) -> list[Step]:
    """List the stages up to the traced network in order."""
    recipe = run.recipe
    if recipe.fit.method == "none":
        return [Step("trace", f"take {run.source.name} as it is, clean it, prove parity")]
    steps = []
    name = f"{run.source.name} ({run.source.layout})"
    if run.candidates:
        ranked = ", ".join(each.name for each in run.candidates)
        steps.append(Step("choice", f"rank {ranked} by probes and by time on this machine"))
        name = "the one that was chosen"
    if run.teacher is not None:
        steps += _teaching(run, run.teacher)
    steps += _fitting(run, name)
    steps.append(Step("trace", "float ONNX, parity with torch on real examples"))
    if recipe.soundness:
        steps.append(Step("soundness", "against a random network and trivial features"))
    return steps


def _unlabelled(run: Run) -> Step:
    return Step("unlabelled", f"read {run.recipe.distill.unlabelled}, leave out what is judged on")


def _fitting(run: Run, name: str) -> list[Step]:
    """List what makes a network of the backbone with that name."""
    recipe = run.recipe
    steps = [
        Step("backbone", f"open {name}, trace it frozen"),
        Step("features", "run it over training and validation examples"),
        Step("probe views", "augmented training pictures, where classes have few of them"),
        Step("probe", "logistic regression, strength by cross-validation"),
    ]
    if recipe.adapts:
        told = Step("shift", "how well the device's pictures are told from the labelled ones")
        how = f"by {recipe.adapt.method}, to the device's pictures"
        if recipe.adapt.method == AUTO:
            how = "every method, the best kept where it is better on labelled examples of the "
            how += "device"
        return [_unlabelled(run), *steps[:2], told, *steps[2:], Step("adapt", how)]
    if recipe.fit.method == "contrastive":
        steps.append(Step("contrastive", "the encoder by pairs of texts, then the head again"))
    if recipe.guesses:
        what = "the head with guessed labels of texts too, kept only where a gain is shown"
        steps += [_unlabelled(run), Step("self-training", what)]
    if recipe.rank:
        what = f"adapters of rank {recipe.rank} in attention, at most {recipe.epochs} epochs"
        steps += [Step("lora", what)]
    if recipe.trains_all_layers:
        steps.append(Step("finetune", f"all layers, at most {recipe.epochs} epochs"))
    elif recipe.fit.method == "auto":
        what = "all layers (of texts by contrast), kept where better on held-out labels"
        steps.append(Step("finetune", what))
    return steps


def _teaching(run: Run, teacher: Source) -> list[Step]:
    """List what is done before the student's own stages."""
    how = "fit a probe on" if run.recipe.distill.fit == "probe" else "fine-tune it on"
    how = "take it as it is" if teacher.layout == "onnx" else f"{how} the same split"
    return [
        *([] if run.recipe.distill.unlabelled is None else [_unlabelled(run)]),
        Step("teacher", f"open {teacher.name} ({teacher.layout}), {how}"),
        Step("teacher views", "run it over every augmentation of the examples to train on"),
    ]


def fit(run: Run) -> FittedGraph:
    """Run every stage up to the traced float network; torch is loaded once the data are read."""
    manifest = read_data(run)
    return _take(run, manifest) if run.recipe.fit.method == "none" else _fit(run, manifest)


def _take(run: Run, manifest: Manifest) -> FittedGraph:
    from edgetransfer.tasks.classification.own.own_model import take_fitted
    from edgetransfer.tasks.classification.study import untested

    taken = take_fitted(run, manifest)
    block = untested("the model came fitted, so that nothing was transferred here")
    return replace(taken, facts={**taken.facts, "soundness": block})


def _fit(run: Run, manifest: Manifest) -> FittedGraph:
    from edgetransfer.pipeline.fit.trace import keep_graph
    from edgetransfer.pipeline.fit.unlabelled import read_unlabelled
    from edgetransfer.tasks.classification.checks.soundness import examine
    from edgetransfer.tasks.classification.fit.network import fit_network, teach
    from edgetransfer.tasks.classification.fit.probe import HELD_OUT, confidence

    teaching = adaptation = None
    if run.teacher is not None:
        manifest, teaching = teach(run, manifest)
    if run.recipe.adapts:
        from edgetransfer.tasks.classification.fit.adapt import adapt

        manifest, student, adaptation = adapt(run, manifest)
    elif run.recipe.guesses:
        from edgetransfer.tasks.classification.fit.text import refuse_pictures

        refuse_pictures(run, manifest)
        more = read_unlabelled(run, manifest)
        manifest = replace(manifest, notes=(*manifest.notes, *more.notes))
        student = fit_network(run, manifest, more=more.examples)
    else:
        student = fit_network(run, manifest, teaching)
    run.team.part()
    facts: dict[str, Any] = {"backbone": student.opened.card, "fit": student.record}
    if (held_out := student.kept.file(HELD_OUT)).is_file():
        labelled = (*manifest.split("train"), *manifest.split("validation"))
        facts["confidence"] = confidence(np.load(held_out), manifest.label_index(labelled))
    chosen = facts.get("confidence") or {}
    said = {name: f"{chosen[name]:.6f}" for name in ("temperature", "threshold") if chosen}
    fitted = keep_graph(
        run, manifest, student.opened.backbone, student.kept.key, facts, _prover(student)
    )
    found = {
        "soundness": examine(run, student, fitted),
        "labelling": student.labels,
        "choice": run.choice,
        "adaptation": adaptation,
    }
    facts = {**fitted.facts, **{name: each for name, each in found.items() if each is not None}}
    unlabelled = (teaching or student).unlabelled
    return replace(fitted, facts=facts, unlabelled=unlabelled, said=said)


def _prover(student: FittedNetwork) -> Prove:
    """Return what makes the graph of a fitted network: its backbone's with a head, where it is."""
    from edgetransfer.backbone.model import linear_head
    from edgetransfer.pipeline.fit.trace import headed, traced

    network = student.network
    if not student.frozen:
        return partial(traced, network, outputs=(LOGITS,), changed=changed_outputs)
    head, graph = linear_head(network.head), student.opened.graph
    return lambda inputs: headed(network, head, graph, inputs, LOGITS, changed_outputs)
