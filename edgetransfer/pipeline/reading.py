"""The data stages: read, check and split the examples; read those without labels.

It does not prepare them for a network.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from edgetransfer.data import sources, unlabelled_texts
from edgetransfer.data import unlabelled as unlabelled_pictures
from edgetransfer.data.manifest import SPLITS, Manifest
from edgetransfer.pipeline.near_duplicates import near_judged
from edgetransfer.pipeline.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.pipeline.run import Run
    from edgetransfer.spec.progress import Progress


def read_data(run: Run) -> Manifest:
    """Read, check and split the examples."""
    spec = run.recipe.data
    inputs = {"fingerprint": sources.fingerprint(spec), "seed": run.recipe.seed}

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        return sources.load(spec, seed=run.recipe.seed, progress=progress).to_json()

    def told(record: Mapping[str, Any]) -> str:
        manifest = Manifest.from_json(record)
        counts = ", ".join(f"{len(manifest.split(split))} {split}" for split in SPLITS)
        return f"{len(manifest.labels)} classes: {counts}"

    return Manifest.from_json(run.keep(Stage("data", inputs, make, told)).record)


def read_unlabelled(run: Run, manifest: Manifest) -> Manifest:
    """Read the examples without labels, none where none were named."""
    source = run.recipe.distill.unlabelled
    if source is None:
        return replace(manifest, examples=(), notes=())
    texts, column = manifest.modality == "text", run.recipe.data.text_column
    reader = unlabelled_texts if texts else unlabelled_pictures
    near = partial(near_judged, run, manifest)
    inputs = {
        "fingerprint": reader.fingerprint(source),
        "labelled": manifest.digest,
        "column": column,
        "backbone": run.source.digest,
    }

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        if texts:
            found = unlabelled_texts.load(source, manifest, column, near=near, progress=progress)
        else:
            found = unlabelled_pictures.load(source, manifest, near=near, progress=progress)
        return found.to_json()

    def told(record: Mapping[str, Any]) -> str:
        more = Manifest.from_json(record)
        noun = "texts" if texts else "pictures"
        return f"{len(more.examples)} {noun}, {sum(more.dropped.values())} left out"

    return Manifest.from_json(run.keep(Stage("unlabelled", inputs, make, told)).record)
