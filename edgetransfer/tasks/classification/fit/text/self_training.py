"""The self-training stage: the head of a text encoder learns from texts without labels too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from safetensors.numpy import save_file

from edgetransfer.backbone.model import linear_head
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, group_index, read_head
from edgetransfer.tasks.classification.fit.text.contrastive import features_of, name_texts
from edgetransfer.tasks.classification.head.self_training import fit_with_guesses, held_out
from edgetransfer.tasks.classification.train.choice import gain
from edgetransfer.tasks.classification.train.classifier import Classifier
from edgetransfer.tasks.classification.train.lesson import Texts

if TYPE_CHECKING:
    from edgetransfer.graph.prepare import TextPreparer
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.fit.fitted import FittedNetwork

Array = np.ndarray[Any, Any]


def refuse_pictures(run: Run, manifest: Manifest) -> None:
    """Meet pictures before the work: nothing was measured of guessing theirs.

    Raises:
        SpecError: the examples are pictures.
    """
    if manifest.modality != "text":
        raise SpecError(
            "labels are guessed of texts only",
            where=f"--unlabelled {run.recipe.distill.unlabelled}",
            found="pictures",
            fix="name a teacher with --distill-from, or take --adapt",
        )


def learn_from_guesses(
    run: Run, manifest: Manifest, fitted: FittedNetwork, more: Sequence[Example]
) -> FittedNetwork:
    """Fit the head again with guessed labels, where that is shown to gain.

    It is shown by a validation set that was not fitted on and, where the encoder is as it was, by
    cross-validation too.
    """
    inputs = {
        "fit": fitted.kept.key,
        "labelled": manifest.digest,
        "more": content_of(more),
        "labels": manifest.labels,
        "groups": run.recipe.data.split_by,
        "seed": run.recipe.seed,
    }

    def make(folder: Path, _: Progress) -> dict[str, Any]:
        return _fit(run, manifest, fitted, more, folder)

    kept = run.keep(Stage("self-training", inputs, make, _told, packages=("transformers",)))
    told = kept.record
    record = {**fitted.record, "self_training": told}
    if not told["better"]:
        return replace(fitted, record=record)
    network = Classifier(fitted.network.network, read_head(kept)).eval()
    record["held_out"] = told["held_out"]
    return replace(fitted, network=network, kept=kept, record=record, unlabelled=tuple(more))


def _told(record: Mapping[str, Any]) -> str:
    return f"{record['guessed']} guessed labels of {record['unlabelled']}, {record['told']}" + (
        "" if record["better"] else ": not better, the head stays"
    )


def _fit(
    run: Run, manifest: Manifest, fitted: FittedNetwork, more: Sequence[Example], folder: Path
) -> dict[str, Any]:
    """Leave ``head.safetensors``, and return what examples say of it that it was not fitted on."""
    labelled, metric = (*manifest.fitted, *manifest.given), run.recipe.metric
    truth = manifest.label_index(labelled)
    count, strength, seed = len(manifest.fitted), fitted.record["strength"], run.recipe.seed
    features = _features(fitted, (*labelled, *more))
    known, unseen, others = np.split(features, [count, len(truth)])
    named = _named(fitted, manifest)
    head, guesses = fit_with_guesses(known, truth[:count], others, strength, named=named)
    save_file(asdict(head), folder / "head.safetensors")
    said = [linear_head(fitted.network.head).logits(unseen), head.logits(unseen)]
    if fitted.record.get("moved", False):  # a moved encoder knows the labels it was fitted on
        crossed = [np.full((count, len(manifest.labels)), np.nan, np.float32)] * 2
    else:
        groups = group_index(run.recipe.data.split_by, manifest.fitted)
        crossed = list(held_out(known, truth[:count], others, strength, groups=groups, seed=seed))
    before, after = (np.concatenate(each) for each in zip(crossed, said, strict=True))
    np.save(folder / HELD_OUT, after.astype(np.float32))
    there = np.isfinite(before).all(axis=1)
    gained = gain(before[there], after[there], truth[there], metric, seed)
    return {
        "unlabelled": len(more),
        "guessed": len(guesses.rows),
        "gain": asdict(gained),
        "told": gained.told(),
        "better": gained.clear,
        "held_out": {
            "metric": metric,
            "value": gained.after,
            "n": gained.n,
            "by": "folds and a validation set that were not fitted on",
        },
    }


def _named(fitted: FittedNetwork, manifest: Manifest) -> Array | None:
    """Return the features of classes' names where the head that is there has heard them."""
    record = fitted.record
    if not (record.get("moved", False) and record["names"]["heard"]):
        return None
    return features_of(fitted.network.network, name_texts(_preparer(fitted), manifest.labels))


def _features(fitted: FittedNetwork, examples: Sequence[Example]) -> Array:
    """Return what the encoder makes of texts, float32 [N, D]."""
    prepare = _preparer(fitted)
    inputs = prepare.join([prepare.prepare(example) for example in examples])
    return features_of(fitted.network.network, Texts.of(inputs, np.arange(len(examples))))


def _preparer(fitted: FittedNetwork) -> TextPreparer:
    return cast("TextPreparer", fitted.opened.prepare)
