"""The stage that lists examples which nearly repeat each other, across splits first.

Test examples are compared, but nothing is chosen, dropped or scaled by them: it is a list.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.tasks.classification.study import told_near
from edgetransfer.transfer.study.near_duplicates import candidates, confirmed, surfaces

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

MOST_LISTED = 50
MOST_COMPARED = 20_000
"""Of what is fitted on, and of the test set; of more a random part is compared."""
Array = np.ndarray[Any, Any]


def look_for_near_duplicates(
    run: Run, manifest: Manifest, opened: OpenedBackbone
) -> dict[str, Any]:
    """Return ``near_duplicates`` of the block ``labelling``, see docs/labels.md."""
    features = opened.features(manifest)
    both = (*manifest.split("train"), *manifest.split("validation"))
    test = manifest.split("test")
    truth = manifest.label_index(both)
    inputs = {"features": features.key, "data": manifest.digest, "seed": run.recipe.seed}

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        draw = np.random.default_rng(run.recipe.seed).permutation
        part, others = (np.sort(draw(len(each))[:MOST_COMPARED]) for each in (both, test))
        examples = (*(both[row] for row in part), *(test[row] for row in others))
        labels = truth[part]
        pairs, ratios = candidates(surfaces(examples), labels)
        differ = [examples[a].digest != examples[b].digest for a, b in pairs]
        pairs, ratios = pairs[differ], ratios[differ]
        rows = np.load(features.file("features.npy"))[part]
        known = _with_test(rows, pairs, examples, opened, progress)
        return _record(examples, len(both) + len(test), *confirmed(pairs, ratios, known, labels))

    return run.keep(Stage("near-duplicates", inputs, make, told_near), "near duplicates").record


def _with_test(
    rows: Array,
    pairs: Array,
    examples: tuple[Example, ...],
    opened: OpenedBackbone,
    progress: Progress,
) -> Array:
    """Return features [N, D], run over those of the test set that a pair names; others are NaN."""
    from edgetransfer.transfer.features import run_over

    known = np.full((len(examples), rows.shape[1]), np.nan, dtype=np.float32)
    known[: len(rows)] = rows
    named = np.unique(pairs[pairs >= len(rows)])
    if len(named):
        graph = onnx.load(opened.kept.file("features.onnx"))
        asked = [examples[row] for row in named]
        known[named] = run_over(graph, opened.prepare, asked, progress=progress)
    return known


def _record(
    examples: tuple[Example, ...], of: int, pairs: Array, nearness: Array
) -> dict[str, Any]:
    both = zip(pairs, nearness.tolist(), strict=True)
    named = [(examples[first], examples[second], near) for (first, second), near in both]
    # Pairs with a test example come first, then those across train and validation.
    named.sort(key=lambda row: (row[1].split != "test", row[0].split == row[1].split, row[2]))
    tested = {two.key for _, two, _ in named if two.split == "test"}
    return {
        "compared": len(examples),
        "examples": of,
        "pairs": len(named),
        "across": sum(one.split != two.split for one, two, _ in named),
        "contrary": sum(one.label != two.label for one, two, _ in named),
        "test_examples": len(tested),
        "listed": [
            {
                "example": one.key, "split": one.split, "label": one.label,
                "other": two.key, "other_split": two.split, "other_label": two.label,
                "nearness": round(near, 4),
            }
            for one, two, near in named[:MOST_LISTED]
        ],
    }  # fmt: skip
