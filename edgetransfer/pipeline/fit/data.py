"""The data stage: examples are read, checked and split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.data import sources
from edgetransfer.data.manifest import SPLITS, Manifest
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.stage.stage import Stage

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.budget import Budget
    from edgetransfer.spec.progress import Progress


def read_data(run: Run) -> Manifest:
    """Read, check and split the examples."""
    spec = run.recipe.data
    seed, fitted = run.recipe.seed, run.recipe.fit.method == "none"
    inputs = {"fingerprint": sources.fingerprint(spec), "seed": seed, "fitted": fitted}

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        return sources.load(spec, seed=seed, fitted=fitted, progress=progress).to_json()

    def told(record: Mapping[str, Any]) -> str:
        manifest = Manifest.from_json(record)
        counts = ", ".join(f"{len(manifest.split(split))} {split}" for split in SPLITS)
        return f"{len(manifest.labels)} classes: {counts}"

    manifest = Manifest.from_json(run.keep(Stage("data", inputs, make, told)).record)
    refuse_floors_of_nothing(run.recipe.budget, manifest.labels)
    return manifest


def refuse_floors_of_nothing(budget: Budget, labels: Sequence[str]) -> None:
    """Refuse floors of classes that there are not, before the work.

    Raises:
        SpecError: there is one.
    """
    unknown = [label for label in budget.min_recall if label not in labels]
    if unknown:
        raise SpecError(
            "no such class",
            where="--min-recall",
            found=", ".join(unknown[:5]),
            expected=", ".join(labels[:10]) + (", ..." if len(labels) > 10 else ""),
        )
