"""The data stages: read, check and split the examples; read those without labels.

It does not prepare them for a network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgetransfer.data import sources
from edgetransfer.data import unlabelled as unlabelled_pictures
from edgetransfer.data.manifest import SPLITS, Manifest
from edgetransfer.errors import SpecError
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
    """Read the pictures without labels, none where no folder was named.

    Raises:
        SpecError: they go with texts.
    """
    source = run.recipe.distill.unlabelled
    if source is None:
        return replace(manifest, examples=(), notes=())
    if manifest.modality != "image":
        raise SpecError(
            "the examples are texts, and only pictures can be given without labels",
            where=f"--unlabelled {source}",
            fix="leave the option out",
        )
    with telling(run.reporter, "unlabelled") as line:
        inputs = {
            "fingerprint": unlabelled_pictures.fingerprint(source),
            "labelled": manifest.digest,
            "code": code("data"),
        }

        def make(folder: Path) -> None:
            found = unlabelled_pictures.load(source, manifest, progress=line.progress)
            leave(folder, "manifest.json", found.to_json())

        kept = run.keep(line, "unlabelled", inputs, make)
        more = Manifest.from_json(kept.record("manifest.json"))
        line.summary = f"{len(more.examples)} pictures, {sum(more.dropped.values())} left out"
    return more
