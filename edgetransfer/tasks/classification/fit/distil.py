"""The stages before a student learns: a teacher is fitted or taken, and asked about every look."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.backbone.model import linear_head
from edgetransfer.bundle.files import digest_of_value
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.pipeline.fit.trace import trace_features
from edgetransfer.pipeline.fit.unlabelled import read_unlabelled
from edgetransfer.pipeline.stage.reporter import Prefixed, telling
from edgetransfer.pipeline.stage.rows import over, rows_stage
from edgetransfer.pipeline.stage.stage import StageResult, made_by
from edgetransfer.spec.recipe import DistillSpec, FitSpec
from edgetransfer.tasks.classification.fit.finetune import schedule_of
from edgetransfer.tasks.classification.fit.network import fit_network
from edgetransfer.tasks.classification.fit.teacher import (
    Teacher,
    TeacherNetwork,
    Teaching,
    keep_look,
)
from edgetransfer.tasks.classification.judge.metrics import METRICS
from edgetransfer.tasks.classification.own.own_model import take_fitted
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.looks import Look, Views

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

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
    asked = TeacherNetwork(kept.file("features.onnx"), kept.key, opened.prepare)
    head = linear_head(fitted.network.head)
    return Teacher(asked, head, np.arange(len(manifest.labels)), fitted.kept.key, record)


def _taken(run: Run, manifest: Manifest) -> Teacher:
    """Take a model that somebody fitted, and see how good it is."""
    fitted = take_fitted(run, manifest)
    order = np.array([fitted.manifest.labels.index(label) for label in manifest.labels])
    asked = TeacherNetwork(fitted.graph, fitted.key, fitted.preparer())
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


def teach(run: Run, manifest: Manifest) -> tuple[Manifest, Teaching]:
    """Fit the teacher, and keep what it says of every look at every example to train on.

    The manifest with what was noted of the unlabelled pictures, and the teaching.

    Raises:
        SpecError: unlabelled pictures go with texts.
    """
    more = read_unlabelled(run, manifest)
    examples = (*manifest.split("train"), *more.examples)
    teacher = fit_teacher(run, manifest)
    schedule, spec = schedule_of(run), run.recipe.distill
    views = schedule.views if manifest.modality == "image" else Views(schedule.seed, 1)
    looks = _ask(run, teacher.asked, examples, views)
    record = {
        **teacher.record,
        "temperature": spec.temperature,
        "weights": spec.model_dump(exclude={"source", "unlabelled", "fit", "temperature"}),
        "views": views.count,
        "unlabelled": len(more.examples),
    }
    heard = {
        "teacher": teacher.key,
        "looks": [kept.key for kept in looks],
        "record": record,
        **made_by((Teaching.__module__,)),
    }
    teaching = Teaching(teacher, looks, examples, views, digest_of_value(heard), record)
    return replace(manifest, notes=(*manifest.notes, *more.notes)), teaching


def _ask(
    run: Run, asked: TeacherNetwork, examples: tuple[Example, ...], views: Views
) -> tuple[StageResult, ...]:
    """Ask about every look in turn; each is kept on its own, so a killed run loses one at most."""
    with telling(run.reporter, "teacher looks") as line:
        total = views.count * len(examples)
        kept = []
        for number in range(views.count):
            part = _part_of(line.progress, number * len(examples), total)
            kept.append(keep_look(run, asked, examples, Look(views, number), part))
        line.reused = all(each.reused for each in kept)
        line.summary = f"{views.count} at {len(examples)} examples"
    return tuple(kept)


def _part_of(progress: Progress, before: int, whole: int) -> Progress:
    """Return what is told of a part of the work, and tells of the whole."""

    def tell(done: int, total: int | None) -> None:
        progress(before + done, whole)

    return tell
