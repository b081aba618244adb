"""The stages before a student learns: its teacher is fitted, and asked about every look.

It does not train the student.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgetransfer.bundle.files import digest_of_value
from edgetransfer.distill.teacher import Look
from edgetransfer.pipeline.finetuning import schedule_of
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.stage import made_by
from edgetransfer.pipeline.teachers import fit_teacher
from edgetransfer.pipeline.teaching import Asked, Teaching, keep_look
from edgetransfer.pipeline.unlabelled import read_unlabelled
from edgetransfer.transfer.views import Views

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.stage import Kept
    from edgetransfer.spec.progress import Progress


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
        **made_by((Teaching.__module__,)),
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
            kept.append(keep_look(run, asked, examples, Look(views, number), part))
        line.reused = all(each.reused for each in kept)
        line.summary = f"{views.count} at {len(examples)} examples"
    return tuple(kept)


def _part_of(progress: Progress, before: int, whole: int) -> Progress:
    """Return what is told of a part of the work, and tells of the whole."""

    def tell(done: int, total: int | None) -> None:
        progress(before + done, whole)

    return tell
