"""The stage that reads examples without labels, less those that repeat what is judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.data import unlabelled
from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.data.unlabelled import JUDGED
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import label_rules
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.transfer.study.near_duplicates import SAME, candidates, confirmed, surfaces

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

Array = np.ndarray[Any, Any]


def read_unlabelled(run: Run, manifest: Manifest) -> Manifest:
    """Read the examples without labels, none where none were named."""
    source = run.recipe.distill.unlabelled
    if source is None:
        return replace(manifest, examples=(), notes=())
    column, near = run.recipe.data.text_column, partial(near_judged, run, manifest)
    inputs = {
        "fingerprint": unlabelled.fingerprint(source, manifest.modality),
        "labelled": manifest.digest,
        "labels": label_rules(run)[1],
        "column": column,
        "backbone": run.source.digest,
    }

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        found = unlabelled.load(source, manifest, column, near=near, progress=progress)
        return found.to_json()

    def told(record: Mapping[str, Any]) -> str:
        more = Manifest.from_json(record)
        return f"{len(more.examples)} {more.input.noun}s, {sum(more.dropped.values())} left out"

    return Manifest.from_json(run.keep(Stage("unlabelled", inputs, make, told)).record)


def near_judged(run: Run, labelled: Manifest, more: Sequence[Example]) -> Mapping[str, str]:
    """Return which unlabelled examples nearly repeat one that is judged on, and why they go.

    The backbone is asked only where the surface leaves doubt.
    """
    judged = tuple(each for split in JUDGED for each in labelled.split(split))
    if not judged or not more:
        return {}
    known, examples = len(judged), (*judged, *more)
    strata = label_rules(run)[0].strata([each.label or "" for each in judged])
    labels = np.unique(strata, return_inverse=True)[1]
    pairs, ratios = candidates(surfaces(examples), labels)
    theirs = pairs[:, 1] >= known
    pairs, ratios = pairs[theirs], ratios[theirs]
    if (ratios >= SAME).any():
        features = _with_judged(run, labelled, examples, known, np.unique(pairs[:, 1]))
        pairs, _ = confirmed(pairs, ratios, features, labels)
    found: dict[str, str] = {}
    for one, other in sorted(map(tuple, pairs.tolist())):  # those of the test set come first
        split = examples[one].split
        found.setdefault(examples[other].key, f"near-duplicate of a {split} example")
    return found


def _with_judged(
    run: Run, labelled: Manifest, examples: tuple[Example, ...], known: int, named: Array
) -> Array:
    """Return features [N, D] of the first, and of those named beside them; others are NaN."""
    opened = OpenedBackbone(replace(run, reporter=SilentReporter()), labelled)
    asked = (*examples[:known], *(examples[row] for row in named))
    rows = np.load(opened.features_of(asked).file("features.npy"))
    found = np.full((len(examples), rows.shape[1]), np.nan, dtype=np.float32)
    found[:known], found[named] = rows[:known], rows[known:]
    return found
