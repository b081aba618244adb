"""What a build, a bench and a prediction ask of a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from edgetransfer.measure.measurement import Judge
from edgetransfer.spec import tasks

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.agent.outputs import Outputs
    from edgetransfer.bundle.forms import Form
    from edgetransfer.data.labels import LabelRules
    from edgetransfer.pipeline.graphs import CompressedGraph, FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.report.node import Node
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.recipe import Recipe
    from edgetransfer.spec.target import TargetSpec


class Step(NamedTuple):
    """One stage and what it would do."""

    stage: str
    what: str


@dataclass(frozen=True)
class Shipped:
    """What a task adds to a bundle.

    Attributes:
        files: by the name in the bundle, where each is to be copied from.
        facts: for the manifest.
        config: ``config.json`` of a backbone in transformers' form, where transformers has a class
            for such a network.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Usage:
    """What the README of a bundle says of a task.

    Attributes:
        outputs: of each output of the network, what it means.
        code: in ``python``, ``javascript`` and ``kotlin``, what is done with the outputs, which are
            variables of their names (in Kotlin, ``outputs`` by name), and with ``labels``.
        answer: JavaScript of a module that exports `answer(outputs, labels)`, which says of an
            example what the task's `answer` does, for the page of a browser that measured.
        files: of those that it ships, what each is.
    """

    outputs: Mapping[str, str]
    code: Mapping[str, str]
    answer: str = ""
    files: Mapping[str, str] = field(default_factory=dict)


class Task(Judge, Protocol):
    """One task: how it is fitted, judged, shipped and told. Its module declares report sections.

    Attributes:
        labels: what labels are, to whatever reads and divides examples.
        columns: what the words and the numbers of `answer` are: "class", "share".
        usage: what is told to whoever runs the model.
        report_form: the form of its blocks of ``report.json``.
    """

    labels: LabelRules
    columns: tuple[str, str]
    usage: Usage
    report_form: type[Form]

    def plan(self, run: Run) -> list[Step]:
        """List the stages that `choose` and `fit` would run, before any work."""

    def choose(self, run: Run) -> Run:
        """Return the build with the backbone chosen that it asked to be chosen."""

    def fit(self, run: Run) -> FittedGraph:
        """Run every stage up to the traced float network."""

    def ship(
        self,
        run: Run,
        fitted: FittedGraph,
        compressed: CompressedGraph,
        target: TargetSpec,
        progress: Progress,
    ) -> Shipped:
        """Make what goes into a bundle beside what every task's has."""

    def record(self, report: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what travels with a bundle of how the model did on the test set of its build.

        None where no example counted.
        """

    def answer(self, outputs: Outputs, labels: Sequence[str]) -> tuple[tuple[str, float], ...]:
        """Say what the outputs of one example mean: words with numbers, best first."""

    def tiles(self, report: Node) -> list[dict[str, Any]]:
        """Return the numbers that a reader looks for first, see `report.page.tile`."""


def task_of(recipe: Recipe) -> Task:
    """Return the task of a build, or of the bundle that it made."""
    found: Task = tasks.load(recipe.task)
    return found
