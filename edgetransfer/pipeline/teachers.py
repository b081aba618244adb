"""The teacher of a distillation: fitted to the same split, or taken as somebody fitted it.

It does not teach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.backbone.head import LinearHead, linear_head
from edgetransfer.data.manifest import content_of
from edgetransfer.pipeline.own_model import take_fitted
from edgetransfer.pipeline.reporter import Prefixed
from edgetransfer.pipeline.stage import Stage
from edgetransfer.pipeline.tracing import EXPORTERS, proving_batch, proving_examples, traced
from edgetransfer.pipeline.training import fit_network
from edgetransfer.spec.recipe import DistillSpec, FitSpec
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.data.manifest import Manifest
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.store import Kept
    from edgetransfer.pipeline.training import FittedNetwork
    from edgetransfer.spec.progress import Progress

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Asked:
    """A traced network that can be asked about examples.

    Attributes:
        graph: prepared inputs -> features, or logits of a model that shows no more.
        key: digest of all that made it.
    """

    graph: Path
    key: str
    prepare: Preparer


@dataclass(frozen=True)
class Teacher:
    """A fitted teacher.

    Attributes:
        asked: gives features where there is a head, else logits in an order of its own.
        head: on those features; None of a model that shows its decisions only.
        order: where the classes of the data stand among the logits.
        key: digest of all that it depends on.
        record: goes into the manifest of every bundle.
    """

    asked: Asked
    head: LinearHead | None
    order: Array
    key: str
    record: dict[str, Any]

    def decide(self, output: Array) -> Array:
        """Turn what the graph gives, float [N, D], into logits float32 [N, C] of the data."""
        logits = output if self.head is None else self.head.logits(output.astype(np.float32))
        return logits[:, self.order].astype(np.float32)


def fit_teacher(run: Run, manifest: Manifest) -> Teacher:
    """Fit the teacher that the run names, on the same split; a fitted .onnx file is taken as it is.

    A fine-tuned teacher keeps the epoch that validation liked best, which may be the probe that it
    started from. Its schedule is not its student's: patience is for the student.

    Raises:
        DataError: the data has classes that a fitted teacher does not know.
        EdgeTransferError: what goes wrong with a backbone goes wrong with a teacher.
    """
    assert run.teacher is not None  # whoever calls has looked
    fit = FitSpec(method=run.recipe.distill.fit, batch_size=run.recipe.fit.batch_size)
    changes = {"distill": DistillSpec(), "fit": fit, "soundness": False}
    recipe = run.recipe.model_copy(update=changes)
    told = Prefixed(run.reporter, "teacher")
    own = replace(run, recipe=recipe, source=run.teacher, reporter=told, teacher=None)
    return _taken(own, manifest) if run.teacher.layout == "onnx" else _fitted(own, manifest)


def _fitted(run: Run, manifest: Manifest) -> Teacher:
    """Fit a backbone."""
    fitted = fit_network(run, manifest)
    opened = fitted.opened
    # A probe leaves the network as it was, and that is traced.
    kept = opened.kept if fitted.record["method"] == "probe" else _trace(run, manifest, fitted)
    record = {
        "teacher": run.source.name,
        "digest": run.source.digest,
        "licence": opened.card["licence"],
        "method": fitted.record["method"],
        "validation_accuracy": fitted.record["validation_accuracy"],
    }
    asked = Asked(kept.file("features.onnx"), kept.key, opened.prepare)
    head = linear_head(fitted.network.head)
    return Teacher(asked, head, np.arange(len(manifest.labels)), fitted.kept.key, record)


def _trace(run: Run, manifest: Manifest, fitted: FittedNetwork) -> Kept:
    """Trace the features of a network whose weights were changed."""

    def make(folder: Path, _: Progress) -> dict[str, Any]:
        examples = proving_batch(manifest, fitted.opened.prepare)
        graph, proof = traced(fitted.network.network, examples)
        onnx.save(graph, folder / "features.onnx")
        return proof

    def told(_: Mapping[str, Any]) -> str:
        return f"{fitted.opened.backbone.feature_dim} features"

    inputs = {
        "features of": fitted.kept.key,
        "proven_on": content_of(proving_examples(manifest)),
    }
    return run.keep(Stage("trace", inputs, make, told, EXPORTERS))


def _taken(run: Run, manifest: Manifest) -> Teacher:
    """Take a model that somebody fitted, and see how good it is."""
    fitted = take_fitted(run, manifest)
    order = np.array([fitted.manifest.labels.index(label) for label in manifest.labels])
    asked = Asked(fitted.graph, fitted.key, fitted.preparer())
    validation = manifest.split("validation")

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        logits = run_over(onnx.load(asked.graph), asked.prepare, validation, progress=progress)
        decided = logits[:, order].argmax(axis=1)
        return {"accuracy": float((decided == manifest.label_index(validation)).mean())}

    def told(record: Mapping[str, Any]) -> str:
        return f"accuracy {record['accuracy']:.3f}"

    inputs = {"trace": fitted.key, "data": manifest.digest}
    right = run.keep(Stage("validation", inputs, make, told)).record["accuracy"]
    record = {
        "teacher": run.source.name,
        "digest": run.source.digest,
        "licence": fitted.facts["backbone"]["licence"],
        "method": "none",
        "validation_accuracy": right,
    }
    return Teacher(asked, None, order, fitted.key, record)
