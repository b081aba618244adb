"""The stage that scores what frozen features know of the training examples, without fitting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification.study.transferability import h_score, log_evidence

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

Row = dict[str, Any]


def transferability(
    run: Run, manifest: Manifest, opened: OpenedBackbone, probe: StageResult
) -> Row:
    """Return LogME and the H-score of the training examples' features."""
    train = manifest.split("train")
    features = opened.features(manifest)
    truth = manifest.label_index(train)

    def make(_: Path, __: Progress) -> Row:
        rows = np.load(features.file("features.npy"))[: len(train)]
        return {"logme": log_evidence(rows, truth), "h_score": h_score(rows, truth)}

    told = "LogME {logme:.3f}, H-score {h_score:.3f}".format_map
    return run.keep(Stage("transferability", {"probe": probe.key}, make, told)).record
