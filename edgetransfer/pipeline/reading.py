"""The data stage: reads, checks and splits the examples.

It does not prepare them for a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.data import sources
from edgetransfer.data.manifest import SPLITS, Manifest
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
