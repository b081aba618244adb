"""What a teacher says, as values: a network that is asked, its decisions, what a student learns."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.data.manifest import Example, content_of
from edgetransfer.pipeline.stage.rows import over, rows_stage
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.train.distill import Distillation, Hints, TeacherLogits, ask

if TYPE_CHECKING:
    from edgetransfer.backbone.model import LinearHead
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.pipeline.stage.stage import StageResult
    from edgetransfer.transfer.looks import Views

Array = np.ndarray[Any, Any]
_SAID = "said.npy"


@dataclass(frozen=True)
class TeacherNetwork:
    """A traced network that can be asked about examples: `key` is a digest of all that made it.

    Its graph maps prepared inputs -> features, or logits of a model that shows no more.
    """

    graph: Path
    key: str
    prepare: Preparer


@dataclass(frozen=True)
class Teacher:
    """A fitted teacher; its record goes into the manifest of every bundle.

    `asked` gives features where there is a head, which is on those, else logits: of a model that
    shows its decisions only. `order` says where the classes of the data stand among the logits.
    """

    asked: TeacherNetwork
    head: LinearHead | None
    order: Array
    key: str
    record: dict[str, Any]

    def decide(self, output: Array) -> Array:
        """Turn what the graph gives, float [N, D], into logits float32 [N, C] of the data."""
        logits = output if self.head is None else self.head.logits(output.astype(np.float32))
        return logits[:, self.order].astype(np.float32)


@dataclass(frozen=True)
class Teaching:
    """All that a student's training needs of its teacher, and a digest of it.

    `looks` is what the teacher's graph gave for each look at the examples trained on, of which the
    unlabelled pictures come last.
    """

    teacher: Teacher
    looks: tuple[StageResult, ...]
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
        said = TeacherLogits(decided, None if self.teacher.head is None else given)
        hints = None
        if said.features is not None and run.recipe.distill.hints > 0:
            asked = TeacherNetwork(
                student.kept.file("features.onnx"), student.kept.key, student.prepare
            )
            start = keep_look(run, asked, self.examples, self.views, 0)
            hints = Hints(np.load(start.file(_SAID)), said.features[0])
        return Distillation(run.recipe.distill, said, hints)


def keep_look(
    run: Run,
    asked: TeacherNetwork,
    examples: tuple[Example, ...],
    views: Views,
    number: int,
    progress: Progress = silent,
) -> StageResult:
    """Run the stage that asks a network about one look at every example."""
    inputs = {
        "network": asked.key,
        "examples": content_of(examples),
        "seed": views.seed,
        "look": number,
    }
    look = partial(views.look, number)
    said = partial(ask, prepare=asked.prepare, examples=examples, look=look)
    return run.store.keep(rows_stage("look", inputs, _SAID, over(asked.graph, said)), progress)
