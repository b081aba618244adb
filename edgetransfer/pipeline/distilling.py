"""The stages before a student learns: its teacher is fitted, and asked about every look.

It does not train the student.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.bundle.files import digest_of_value
from edgetransfer.data.manifest import content_of
from edgetransfer.distill.objective import Distillation, Hints, Said
from edgetransfer.distill.teacher import Look, ask
from edgetransfer.pipeline.finetuning import schedule_of
from edgetransfer.pipeline.reading import read_unlabelled
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.stage import Stage, made_by
from edgetransfer.pipeline.teachers import Asked, fit_teacher
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.views import Views

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.opening import OpenedBackbone
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.store import Kept
    from edgetransfer.pipeline.teachers import Teacher

_SAID = "said.npy"


@dataclass(frozen=True)
class Teaching:
    """All that a student's training needs of its teacher.

    Attributes:
        looks: what the teacher's graph gave, kept for each look.
        examples: those trained on; the unlabelled pictures come last.
        key: digest of all that the training depends on.
        record: what the manifest says of it.
    """

    teacher: Teacher
    looks: tuple[Kept, ...]
    examples: tuple[Example, ...]
    views: Views
    key: str
    record: dict[str, Any]

    @property
    def unlabelled(self) -> tuple[Example, ...]:
        """The examples that have no label."""
        return tuple(example for example in self.examples if example.label is None)

    def objective(self, run: Run, student: OpenedBackbone) -> Distillation:
        """Return what the student is trained towards."""
        given = [np.load(kept.file(_SAID), mmap_mode="r") for kept in self.looks]
        decided = [self.teacher.decide(each) for each in given]
        said = Said(decided, None if self.teacher.head is None else given)
        hints = None
        if said.features is not None and run.recipe.distill.hints > 0:
            asked = Asked(student.kept.file("features.onnx"), student.kept.key, student.prepare)
            start = _keep_look(run, asked, self.examples, Look(self.views, 0))
            hints = Hints(np.load(start.file(_SAID)), said.features[0])
        return Distillation(run.recipe.distill, said, hints)


def teach(run: Run, manifest: Manifest) -> tuple[Manifest, Teaching]:
    """Fit the teacher, and keep what it says of every look at every example to train on.

    Returns:
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
        **made_by((__name__,)),
    }
    teaching = Teaching(teacher, looks, examples, views, digest_of_value(heard), record)
    return replace(manifest, notes=(*manifest.notes, *more.notes)), teaching


def _ask(run: Run, asked: Asked, examples: tuple[Example, ...], views: Views) -> tuple[Kept, ...]:
    """Ask about every look in turn; each is kept on its own, so a killed run loses one at most."""
    with telling(run.reporter, "teacher looks") as line:
        total = views.count * len(examples)
        kept = []
        for number in range(views.count):
            part = _part_of(line.progress, number * len(examples), total)
            kept.append(_keep_look(run, asked, examples, Look(views, number), part))
        line.reused = all(each.reused for each in kept)
        line.summary = f"{views.count} at {len(examples)} examples"
    return tuple(kept)


def _part_of(progress: Progress, before: int, whole: int) -> Progress:
    """Return what is told of a part of the work, and tells of the whole."""

    def tell(done: int, total: int | None) -> None:
        progress(before + done, whole)

    return tell


def _keep_look(
    run: Run,
    asked: Asked,
    examples: tuple[Example, ...],
    look: Look,
    progress: Progress = silent,
) -> Kept:
    inputs = {
        "network": asked.key,
        "examples": content_of(examples),
        "seed": look.views.seed,
        "look": look.number,
    }

    def make(folder: Path, progress: Progress) -> dict[str, Any]:
        graph = onnx.load(asked.graph)
        rows = ask(graph, asked.prepare, examples, look, progress=progress)
        np.save(folder / _SAID, rows)
        return {"shape": rows.shape}

    return run.store.keep(Stage("look", inputs, make), progress)
