"""The fine-tuning stage: all layers or adapters, from the probe's head, with a teacher or none."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_model

from edgetransfer.agent.environment import isa_flags
from edgetransfer.graph.prepare import stack
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.tasks.classification.fit.contest import WEIGHTS, Contender, Contest, ContestPlan
from edgetransfer.tasks.classification.train.choice import RACED_STEPS, RATES, Part, race
from edgetransfer.tasks.classification.train.finetune import finetune as train_network
from edgetransfer.tasks.classification.train.finetune import measure
from edgetransfer.tasks.classification.train.lesson import (
    UNLABELLED,
    CrossEntropy,
    Lesson,
    PreparedExamples,
    Schedule,
    Technique,
    Texts,
)
from edgetransfer.transfer import machine_settings

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.fit.probe import FittedNetwork
    from edgetransfer.tasks.classification.fit.teacher import Teaching
    from edgetransfer.tasks.classification.train.layers import Classifier
    from edgetransfer.tasks.classification.train.lesson import Objective
    from edgetransfer.transfer.machine_settings import Machine

Array = np.ndarray[Any, Any]
PASSES = 3
"""Examples that are judged in the time in which one is learnt from."""


def schedule_of(run: Run) -> Schedule:
    """Return what the recipe says of training; the rate is the safest where it is raced."""
    recipe, fit = run.recipe, run.recipe.fit
    restraints = (fit.label_smoothing, fit.averaging, fit.l2_sp, fit.balanced, fit.gradual)
    technique = Technique(*restraints, recipe.rank)
    rate = recipe.learning_rate or min(RATES)
    return Schedule(recipe.epochs, rate, fit.batch_size, recipe.seed, technique)


def finetune(
    run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None = None
) -> FittedNetwork:
    """Fine-tune the network in place, or load what an earlier run came to.

    Rate and length are chosen on the validation set, by the metric. Where it was carved out of
    train, the same is then done again on both together, from the probe of both.

    Raises:
        SpecError: torch cannot train on the device that was asked for.
        OutOfTimeError: not one epoch fits the time.
    """
    tuning = FineTuning(run, manifest, fitted, teaching)
    return tuning.settle(tuning.hold(most=1))


class FineTuning(Contender):
    """Fine-tuning as a contender; examples are prepared only where they are needed."""

    name = "fine-tuning"
    opened = ("transformers", "timm")
    together = True

    def __init__(
        self, run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None = None
    ) -> None:
        self.stage = "lora" if run.recipe.rank else "finetune"
        self._teaching = teaching
        self._taught_on = manifest.fitted if teaching is None else teaching.examples
        self._prepare = fitted.opened.prepare
        asked, taught = asdict(schedule_of(run)), None if teaching is None else teaching.key
        super().__init__(run, manifest, fitted, {"asked": asked, "teaching": taught})

    def _measured(self) -> Stage:
        where = machine_settings.device(self._run.recipe.fit.device)

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                few = self._examples(self._manifest.split("train")[:16], room)
                return asdict(measure(self._fitted.network, few, schedule_of(self._run), where))

        here = {"isa": sorted(isa_flags()), "cores": torch.get_num_threads(), "device": where}
        here["processes"] = self._run.team.size
        return Stage("machine", {**self._inputs, **here}, make, packages=self.opened)

    def _way(self) -> Machine:
        """Return how training runs, on the device of this very process."""
        found = super()._way()
        return replace(found, device=self._run.team.device or found.device)

    def _planned(self) -> ContestPlan:
        first, asked = self._data.parts[0], schedule_of(self._run)
        rows = len(self._rows(first)) + len(first.held) // PASSES, len(self._taught_on)
        epochs, plan = self._within(asked, self._way(), rows, before=self._raced_steps())
        self._schedule = replace(asked, epochs=epochs)
        return plan

    def _raced_steps(self) -> int:
        return 0 if self._run.recipe.learning_rate is not None else len(RATES) * RACED_STEPS

    def _race(self, progress: Progress) -> dict[str, Any]:
        """Settle the rate; also return what the race of the rates came to."""
        way, schedule, first = self._way(), self._schedule, self._data.parts[0]
        if not self._raced_steps():
            return {}

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                scores = race(
                    self._start(first), self._lesson(first, room), schedule, way,
                    team=self._run.team, progress=progress,
                )  # fmt: skip
            return {f"{rate:g}": list(found) for rate, found in scores.items()}

        stage = Stage("race", self._started, make, packages=self.opened, together=True)
        scores = self._run.store.keep(stage, progress).record
        best = max(scores, key=lambda rate: scores[rate])
        self._schedule = replace(schedule, learning_rate=float(best))
        return {"raced": {rate: value for rate, (value, _) in scores.items()}}

    def _fit_without(
        self, part: Part, folder: Path, progress: Progress
    ) -> tuple[Classifier, Array, dict[str, Any]]:
        network = self._start(part)
        with scratch(folder) as room:
            tuned = train_network(
                network, self._lesson(part, room), self._schedule, self._way(),
                progress=progress, team=self._run.team,
            )  # fmt: skip
        return network, tuned.said, {"best_epoch": tuned.best_epoch}

    def _fit_all(
        self, length: int, folder: Path, progress: Progress
    ) -> tuple[Classifier, dict[str, Any]]:
        network, first, way = copy.deepcopy(self._fitted.network), self._first, self._way()
        schedule = replace(self._schedule, stop=length)
        if first is not None and not self._data.refits and first.record["best_epoch"] == length:
            load_model(network, first.file(WEIGHTS))
        elif length:
            with scratch(folder) as room:
                every = self._lesson(None, room)
                train_network(network, every, schedule, way, progress=progress, team=self._run.team)
        return network, {}

    def _recorded(self, contest: Contest, length: int, facts: dict[str, Any]) -> dict[str, Any]:
        taught = self._teaching
        return {
            "best_epoch": length,
            "history": contest.history(),
            **contest.record(length, self._data),
            **facts,
            "schedule": asdict(replace(self._schedule, stop=length)),
            "machine": {**self._ran(), "processes": self._run.team.told},
            **({} if taught is None else {"distilled": taught.record}),
        }

    def _told(self, record: Mapping[str, Any]) -> str:
        last = len(record["history"]) - 1
        return f"{super()._told(record)}, epoch {record['best_epoch']} of {last}"

    def _rows(self, part: Part | None) -> Array:
        """Return which of those taught on are fitted on: unlabelled ones always are."""
        count = self._data.fitted
        fitted = np.arange(count) if part is None else part.fitted
        return np.concatenate([fitted, np.arange(count, len(self._taught_on))])

    def _lesson(self, part: Part | None, room: Path) -> Lesson:
        """Return what is learnt without a part; all of it, with nothing to judge by, for None."""
        taught, smoothing = self._teaching, schedule_of(self._run).technique.smoothing
        rows = self._rows(part)
        train = self._examples([self._taught_on[row] for row in rows], room)
        train = replace(train, places=rows)
        nothing = train.take(np.arange(0))
        held = [] if part is None else [self._data.examples[row] for row in part.held]
        objective: Objective = CrossEntropy(smoothing)
        if taught is not None:
            objective = taught.objective(self._run, self._fitted.opened)
        judged = self._examples(held, room) if held else nothing
        return Lesson(train, judged, objective, self._data.metric)

    def _examples(self, chosen: Sequence[Example], room: Path) -> PreparedExamples:
        labelled = [example for example in chosen if example.label is not None]
        labels = np.full(len(chosen), UNLABELLED)
        labels[: len(labelled)] = self._manifest.label_index(labelled)  # which come first
        if not self._prepare.one_shape:
            joined = self._prepare.join([self._prepare.prepare(example) for example in chosen])
            return Texts.of(joined, labels)
        folder = room / f"{len(list(room.iterdir()))}"
        folder.mkdir()
        files = stack(self._prepare.prepare, chosen, folder)
        return PreparedExamples([np.load(file, mmap_mode="r") for file in files.values()], labels)
