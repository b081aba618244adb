"""The teacher of a distillation: fitted to the same split, or taken as somebody fitted it.

It does not teach.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.backbone.head import linear_head
from edgetransfer.data.manifest import content_of
from edgetransfer.measure.metrics import METRICS
from edgetransfer.pipeline.own_model import take_fitted
from edgetransfer.pipeline.reporter import Prefixed
from edgetransfer.pipeline.rows import over, rows_stage
from edgetransfer.pipeline.teaching import Asked, Teacher
from edgetransfer.pipeline.tracing import trace_features
from edgetransfer.pipeline.training import fit_network
from edgetransfer.spec.recipe import DistillSpec, FitSpec
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.pipeline.run import Run

Array = np.ndarray[Any, Any]


def fit_teacher(run: Run, manifest: Manifest) -> Teacher:
    """Fit the teacher that the run names, on the same split; a fitted .onnx file is taken as it is.

    A fine-tuned teacher keeps the epoch that the metric liked best, which may be the probe that it
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
    if fitted.record["method"] == "probe":  # which leaves the network as it was, and that is traced
        kept = opened.kept
    else:
        network, key = fitted.network.network, fitted.kept.key
        kept = trace_features(run, manifest, opened.prepare, network, key)
    record = {
        "teacher": run.source.name,
        "digest": run.source.digest,
        "licence": opened.card["licence"],
        "method": fitted.record["method"],
        "held_out": fitted.record["held_out"],
    }
    asked = Asked(kept.file("features.onnx"), kept.key, opened.prepare)
    head = linear_head(fitted.network.head)
    return Teacher(asked, head, np.arange(len(manifest.labels)), fitted.kept.key, record)


def _taken(run: Run, manifest: Manifest) -> Teacher:
    """Take a model that somebody fitted, and see how good it is."""
    fitted = take_fitted(run, manifest)
    order = np.array([fitted.manifest.labels.index(label) for label in manifest.labels])
    asked = Asked(fitted.graph, fitted.key, fitted.preparer())
    validation = manifest.split("validation")

    inputs = {"trace": fitted.key, "examples": content_of(validation)}
    logits = over(asked.graph, partial(run_over, prepare=asked.prepare, examples=validation))
    kept = run.keep(rows_stage("validation", inputs, "logits.npy", logits))
    decided, metric = np.load(kept.file("logits.npy"))[:, order].argmax(axis=1), run.recipe.metric
    value = METRICS[metric](manifest.label_index(validation), decided, len(order))
    by = "the validation set"
    held = {"metric": metric, "value": value, "n": len(validation), "by": by}
    record = {
        "teacher": run.source.name,
        "digest": run.source.digest,
        "licence": fitted.facts["backbone"]["licence"],
        "method": "none",
        "held_out": held,
    }
    return Teacher(asked, None, order, fitted.key, record)
