"""The data stage: read, check and split the examples.

It does not prepare them for a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgetransfer.data import sources
from edgetransfer.data.manifest import SPLITS, Manifest
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
