"""The stage that looks at labels: which are probably wrong, and what more of them would give.

Labels of the test set are not looked at, and nothing that it finds is dropped or chosen by.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.stats.power_law import FARTHEST, LabelGain, extrapolate
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, group_index
from edgetransfer.tasks.classification.head.score import softmax
from edgetransfer.tasks.classification.study.confident import find_suspects
from edgetransfer.tasks.classification.study.labels import told
from edgetransfer.tasks.classification.study.learning_curve import Curve, CurveData, measure_curve

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

MOST_LISTED = 50
TIMES = (1.5, 2.0, 4.0)
"""Multiples of today's training examples that a gain is told for."""
FEWEST_OF_A_CLASS = 30
"""CurveData examples from which on a class gets a curve of its own."""
Array = np.ndarray[Any, Any]


def look_for_suspects(
    run: Run, manifest: Manifest, opened: OpenedBackbone, probe: StageResult
) -> dict[str, Any]:
    """Return all but ``near_duplicates`` of the block ``labelling``, see docs/labels.md."""
    examples = (*manifest.split("train"), *manifest.split("validation"))
    truth = manifest.label_index(examples)
    groups = group_index(run.recipe.data.split_by, examples)
    features = opened.features(manifest)
    train, now = len(manifest.split("train")), len(manifest.fitted)
    inputs = {
        "probe": probe.key,
        "examples": [example.key for example in examples],
        "labels": list(manifest.labels),
        "groups": None if groups is None else groups.tolist(),
    }

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        rows, seed = np.load(features.file("features.npy")), run.recipe.seed
        data = CurveData(rows, truth, train, probe.record["strength"], groups)
        curve = measure_curve(data, seed=seed, progress=progress)
        said = np.load(probe.file(HELD_OUT))
        found = _suspects(said, truth, examples, manifest.labels)
        if curve is not None:
            found["curve"] = _curve((curve, data), now, manifest.labels, seed)
        return found

    return run.keep(Stage("labels", inputs, make, lambda record: "; ".join(told(record)))).record


def _suspects(
    logits: Array, truth: Array, examples: tuple[Example, ...], labels: tuple[str, ...]
) -> dict[str, Any]:
    found = find_suspects(softmax(logits), truth)
    return {
        "judged": int((~np.isnan(logits).any(axis=1)).sum()),
        "suspect": len(found),
        "suspects": [
            {
                "example": examples[each.row].key,
                "split": examples[each.row].split,
                "given": labels[each.given],
                "likely": labels[each.likely],
                "given_probability": round(each.given_probability, 4),
                "likely_probability": round(each.likely_probability, 4),
            }
            for each in found[:MOST_LISTED]
        ],
    }


def _curve(
    measured: tuple[Curve, CurveData], now: int, labels: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Extrapolate from the first `now` for all classes, and for each whose curve surely falls."""
    (curve, data), last = measured, int(measured[0].sizes[-1])
    wanted = [round(times * now) for times in TIMES if times * now <= FARTHEST * last]
    found = extrapolate(curve.sizes, curve.wrong, now, wanted, seed=seed)
    truth, counts = data.labels[curve.rows], np.bincount(data.labels[:now], minlength=len(labels))
    classes = []
    for number, label in enumerate(labels):
        own = curve.wrong[:, :, truth == number]
        if own.shape[2] < FEWEST_OF_A_CLASS or 2 * now not in wanted:
            continue
        said = extrapolate(curve.sizes, own, now, [2 * now], seed=seed)
        if said.falls:
            classes.append({"label": label, "more": int(counts[number]), **_gain(said.gains[0])})
    return {
        "judged": len(curve.rows),
        "now": now,
        "sizes": curve.sizes.tolist(),
        "error": [round(each, 4) for each in found.error],
        "falls": found.falls,
        "gains": [{"examples": each.size, **_gain(each)} for each in found.gains],
        "classes": sorted(classes, key=lambda row: -float(row["gain_pp"])),
    }


def _gain(gain: LabelGain) -> dict[str, Any]:
    return {"gain_pp": round(gain.gain_pp, 2), "ci95_pp": [round(end, 2) for end in gain.ci95_pp]}
