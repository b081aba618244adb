"""The data stage: examples are read, checked and split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.data import sources
from edgetransfer.data.manifest import SPLITS, Manifest
from edgetransfer.export import litert
from edgetransfer.pipeline.stage.stage import Stage, made_by
from edgetransfer.spec import tasks

if TYPE_CHECKING:
    from edgetransfer.data.labels import LabelRules
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress


def read_data(run: Run) -> Manifest:
    """Read, check and split the examples by the rules of the task."""
    spec, (rules, rules_key) = run.recipe.data, label_rules(run)
    seed, fitted = run.recipe.seed, run.recipe.fit.method == "none"
    inputs = {
        "fingerprint": sources.fingerprint(spec, rules),
        "seed": seed,
        "fitted": fitted,
        "labels": rules_key,
    }

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        return sources.load(spec, rules, seed=seed, fitted=fitted, progress=progress).to_json()

    def told(record: Mapping[str, Any]) -> str:
        manifest = Manifest.from_json(record)
        counts = ", ".join(f"{len(manifest.split(split))} {split}" for split in SPLITS)
        return f"{rules.told(manifest.labels)}: {counts}"

    manifest = Manifest.from_json(run.keep(Stage("data", inputs, make, told)).record)
    rules.refuse_limits(run.recipe.budget, manifest.labels)
    if "litert" in run.recipe.quant.also:
        litert.refuse_unfit(manifest.modality)
    return manifest


def label_rules(run: Run) -> tuple[LabelRules, dict[str, Any]]:
    """Return what the task of a build says of labels, and what stands for it in a stage's key."""
    rules: LabelRules = tasks.load(run.recipe.task).labels
    return rules, {"task": run.recipe.task, **made_by((type(rules).__module__,))}
