"""What a bundle keeps of the shipped network's features, so that classes can be added later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.data.manifest import Example, content_of
from edgetransfer.data.split import calibration_sample
from edgetransfer.errors import UnsupportedError
from edgetransfer.graph.hosted import exact_here
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.task import Shipped
from edgetransfer.tasks.classification.head.new_class import measure_statistics
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.tasks.classification.ship.head_files import (
    STATISTICS,
    backbone_digest,
    find_head,
    with_features,
    write_statistics,
)
from edgetransfer.transfer.features import run_session

if TYPE_CHECKING:
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.pipeline.graphs import CompressedGraph, FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.target import TargetSpec

Array = np.ndarray[Any, Any]
MOST = 2000
"""Training examples that the statistics are of at most, labels in proportion."""


def run_as_shipped(
    model: onnx.ModelProto,
    session: Mapping[str, Any],
    prepare: Preparer,
    examples: Sequence[Example],
    progress: Progress,
) -> Array:
    """Return a network's output for every example, float32 [N, ...], run as the device runs it."""
    config = {**exact_here(), **session["config"]}
    opened = OnnxSession(model.SerializeToString(), threads=session["threads"], config=config)
    (found,) = run_session(opened, prepare, examples, progress).values()
    return found


def head_facts(core: onnx.ModelProto) -> dict[str, Any]:
    """Return what the manifest says of the head: nothing where the network ends in none."""
    try:
        found = find_head(core)
    except UnsupportedError:
        return {}
    return {
        "head": {
            "features": found.features,
            "size": found.head.weight.shape[1],
            "backbone_digest": backbone_digest(core),
        }
    }


def ship(
    run: Run,
    fitted: FittedGraph,
    compressed: CompressedGraph,
    target: TargetSpec,
    progress: Progress,
) -> Shipped:
    """Run the statistics stage; the facts are of the head.

    No statistics where the network ends in no linear head, or there are too few training examples
    to tell how the features of a class vary.
    """
    manifest = fitted.manifest
    core = onnx.load(compressed.graph)
    facts = head_facts(core)
    if not facts or not manifest.split("train"):
        return Shipped({}, facts, fitted.config)
    examples = calibration_sample(manifest, MOST, run.recipe.seed, CLASSES)
    truth, prepare = manifest.label_index(examples), fitted.preparer()
    session = run.session_of(target)
    inputs = {
        "network": compressed.key,
        "examples": content_of(examples),
        "truth": truth.tolist(),
        "session": session,
        "run_here_with": exact_here(),
    }

    def make(folder: Path, progress: Progress) -> dict[str, Any]:
        features = with_features(core)
        rows = run_as_shipped(features, session, prepare, examples, progress)
        found = measure_statistics(rows, truth, len(manifest.labels))
        if found is not None:
            write_statistics(folder / STATISTICS, found)
        return {"examples": len(examples), "kept": found is not None}

    kept = run.store.keep(Stage("statistics", inputs, make), progress)
    files = {STATISTICS: kept.file(STATISTICS)} if kept.record["kept"] else {}
    return Shipped(files, facts, fitted.config)
