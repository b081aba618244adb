"""The probe stage: a linear head on cached features; fine-tuning starts from it too.

It does not touch the backbone's weights.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load_file, save_file

from edgetransfer.backbone.head import LinearHead
from edgetransfer.pipeline.stage import Stage
from edgetransfer.transfer.linear_heads import Known
from edgetransfer.transfer.probe import fit_probe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.opening import OpenedBackbone
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.stage import Kept
    from edgetransfer.spec.progress import Progress


def group_index(column: str | None, examples: Sequence[Example]) -> np.ndarray[Any, Any] | None:
    """Return int [N], the group of every example by a metadata column, or None."""
    if column is None:
        return None
    values = [example.metadata.get(column, "") for example in examples]
    index: np.ndarray[Any, Any] = np.unique(values, return_inverse=True)[1]
    return index


def fit_head(run: Run, manifest: Manifest, opened: OpenedBackbone) -> tuple[Kept, dict[str, Any]]:
    """Fit the probe on cached features; ``held_out.npy`` has logits of what it did not see."""
    features = opened.features(manifest)
    looks = opened.looks(manifest)
    train, validation = manifest.split("train"), manifest.split("validation")
    truth = manifest.label_index((*train, *validation))
    groups = group_index(run.recipe.data.split_by, train)
    source = opened.backbone.classifier
    inputs = {
        "features": features.key,
        "truth": truth.tolist(),
        "looks": 0 if looks is None else len(looks),
        "groups": None if groups is None else groups.tolist(),
        "seed": run.recipe.seed,
    }

    def make(folder: Path, progress: Progress) -> dict[str, Any]:
        rows, count = np.load(features.file("features.npy")), len(train)
        probe = fit_probe(
            rows[:count],
            truth[:count],
            known=Known(groups, looks, source),
            seed=run.recipe.seed,
            progress=progress,
        )
        save_file(asdict(probe.head), folder / "head.safetensors")
        unseen = probe.head.logits(rows[count:])
        np.save(folder / "held_out.npy", np.concatenate([probe.held_out, unseen]))
        return {
            "method": "probe",
            "strength": probe.strength,
            "folds": probe.folds,
            "looks": 0 if looks is None else len(looks),
            "source_classes": 0 if source is None else len(source.bias),
            "cross_validated": [
                {"strength": c, "log_loss": loss, "accuracy": right}
                for c, (loss, right) in probe.cross_validated.items()
            ],
            "validation_accuracy": float((unseen.argmax(axis=1) == truth[count:]).mean()),
        }

    kept = run.keep(Stage("probe", inputs, make, _told))
    return kept, kept.record


def _told(record: Mapping[str, Any]) -> str:
    return f"validation accuracy {record['validation_accuracy']:.3f}, C = {record['strength']}"


def read_head(kept: Kept) -> LinearHead:
    """Read the head that `fit_head` left."""
    return LinearHead(**load_file(kept.file("head.safetensors")))
