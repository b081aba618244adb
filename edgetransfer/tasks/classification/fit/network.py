"""From a backbone to a fitted network: the student's way, and the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import SpecError
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.tasks.classification.checks.labels import look_for_suspects
from edgetransfer.tasks.classification.checks.near_duplicates import look_for_near_duplicates
from edgetransfer.tasks.classification.checks.soundness import look_before
from edgetransfer.tasks.classification.fit.probe import FittedNetwork, fit_head, read_head
from edgetransfer.tasks.classification.train.layers import Classifier, projections

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.pipeline.stage.stage import StageResult
    from edgetransfer.tasks.classification.fit.contest import Contender
    from edgetransfer.tasks.classification.fit.teacher import Teaching


def fit_network(
    run: Run, manifest: Manifest, teaching: Teaching | None = None, more: Sequence[Example] = ()
) -> FittedNetwork:
    """Fit the probe and, where the recipe or the evidence says so, layers from there.

    At the end the labels of `more`, texts, are guessed.

    Raises:
        SpecError: the method does not go with the examples or the backbone.
    """
    if run.recipe.fit.method == "contrastive":
        from edgetransfer.tasks.classification.fit.text import refuse_what_it_cannot

        refuse_what_it_cannot(run, manifest)
        if more:  # a moved encoder knows its labels: what is guessed needs others to be judged by
            manifest = replace(manifest, carved=False)
    opened = OpenedBackbone(run, manifest)
    if run.recipe.rank:
        _refuse_without_attention(run, opened)
    look_before(run, manifest, opened, opened.features(manifest))
    kept, record = fit_head(run, manifest, opened)
    labels = look_at_labels(run, manifest, opened, kept)
    network = Classifier(opened.backbone.network, read_head(kept))
    fitted = FittedNetwork(opened, network, kept, record, kept, labels)
    if run.recipe.fit.method == "contrastive":
        from edgetransfer.tasks.classification.fit.text import contrast

        fitted = contrast(run, manifest, fitted)
    if more:
        from edgetransfer.tasks.classification.fit.text import learn_from_guesses

        return learn_from_guesses(run, manifest, fitted, more)
    if run.recipe.fit.method in ("probe", "contrastive"):
        return fitted
    return _tuned(run, manifest, fitted, teaching)


def _tuned(
    run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None
) -> FittedNetwork:
    """Train all layers or adapters, or whatever `auto` finds better."""
    from edgetransfer.tasks.classification.fit.contest import because, keep_if_better
    from edgetransfer.tasks.classification.fit.finetune import FineTuning, finetune
    from edgetransfer.tasks.classification.fit.text import DEVICES, ContrastiveFit

    if run.recipe.trains_all_layers or run.recipe.rank:
        return finetune(run, manifest, fitted, teaching)
    if fitted.record["held_out"]["value"] is None:
        return because(run, fitted, "no labelled example can be held out, so the probe is kept")
    contender: Contender = FineTuning(run, manifest, fitted)
    if manifest.modality == "text" and run.recipe.fit.device in (None, *DEVICES):
        contender = ContrastiveFit(run, manifest, fitted)
    return keep_if_better(run, fitted, contender)


def look_at_labels(
    run: Run, manifest: Manifest, opened: OpenedBackbone, probe: StageResult
) -> dict[str, Any] | None:
    """Return the block ``labelling`` of the manifest and the report; None where it is off."""
    if not run.recipe.soundness:
        return None
    found = look_for_suspects(run, manifest, opened, probe)
    return {**found, "near_duplicates": look_for_near_duplicates(run, manifest, opened)}


def _refuse_without_attention(run: Run, opened: OpenedBackbone) -> None:
    """Meet a backbone that has no place for adapters before the work."""
    if not projections(opened.backbone.network):
        raise SpecError(
            "adapters go to attention's query and value projections, and this backbone has none",
            where="--fit lora",
            found=run.source.name,
            expected="a transformers encoder whose query, key and value are layers of their own",
            fix="take --fit finetune",
        )
