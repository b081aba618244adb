"""The data stages: read, check and split the examples; read those without labels.

It does not prepare them for a network.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from edgetransfer.data import sources, unlabelled_texts
from edgetransfer.data import unlabelled as unlabelled_pictures
from edgetransfer.data.manifest import SPLITS, Manifest
from edgetransfer.pipeline.near_duplicates import near_judged
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.run import Run, code, leave

if TYPE_CHECKING:
    from pathlib import Path


def read_data(run: Run) -> Manifest:
    """Read, check and split the examples."""
    spec = run.recipe.data
    with telling(run.reporter, "data") as line:
        inputs = {
            "fingerprint": sources.fingerprint(spec),
            "seed": run.recipe.seed,
            "code": code("data"),
        }

        def make(folder: Path) -> None:
            found = sources.load(spec, seed=run.recipe.seed, progress=line.progress)
            leave(folder, "manifest.json", found.to_json())

        kept = run.keep(line, "data", inputs, make)
        manifest = Manifest.from_json(kept.record("manifest.json"))
        counts = ", ".join(f"{len(manifest.split(split))} {split}" for split in SPLITS)
        line.summary = f"{len(manifest.labels)} classes: {counts}"
    return manifest


def read_unlabelled(run: Run, manifest: Manifest) -> Manifest:
    """Read the examples without labels, none where none were named."""
    source = run.recipe.distill.unlabelled
    if source is None:
        return replace(manifest, examples=(), notes=())
    texts, column = manifest.modality == "text", run.recipe.data.text_column
    reader = unlabelled_texts if texts else unlabelled_pictures
    with telling(run.reporter, "unlabelled") as line:
        inputs = {
            "fingerprint": reader.fingerprint(source),
            "labelled": manifest.digest,
            "column": column,
            "backbone": run.source.digest,
            "code": code("data", "transfer", "graph", "backbone"),
        }
        near = partial(near_judged, run, manifest)

        def make(folder: Path) -> None:
            if texts:
                found = unlabelled_texts.load(
                    source, manifest, column, near=near, progress=line.progress
                )
            else:
                found = unlabelled_pictures.load(
                    source, manifest, near=near, progress=line.progress
                )
            leave(folder, "manifest.json", found.to_json())

        kept = run.keep(line, "unlabelled", inputs, make)
        more = Manifest.from_json(kept.record("manifest.json"))
        noun = "texts" if texts else "pictures"
        line.summary = f"{len(more.examples)} {noun}, {sum(more.dropped.values())} left out"
    return more
