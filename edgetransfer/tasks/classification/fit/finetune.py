"""The fine-tuning stage: all layers or adapters, from the probe's head, with a teacher or none."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_model, save_model

from edgetransfer.agent.environment import isa_flags
from edgetransfer.graph.prepare import stack
from edgetransfer.pipeline.stage.reporter import Line, telling
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.tasks.classification.fit.contest import (
    Contest,
    ContestPlan,
    LabelledExamples,
    OutOfTimeError,
    hold,
)
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, told
from edgetransfer.tasks.classification.train import finetune as machines
from edgetransfer.tasks.classification.train.choice import (
    RACED_STEPS,
    RATES,
    Part,
    epochs_within,
    race,
)
from edgetransfer.tasks.classification.train.finetune import finetune as train_network
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.tasks.classification.train.lesson import (
    UNLABELLED,
    CrossEntropy,
    Lesson,
    PreparedExamples,
    Schedule,
    Technique,
    Texts,
)
from edgetransfer.transfer.train import machine_settings
from edgetransfer.transfer.train.machine_settings import Machine

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.fit.probe import FittedNetwork
    from edgetransfer.tasks.classification.fit.teacher import Teaching

Array = np.ndarray[Any, Any]
PASSES = 3
"""Examples that are judged in the time in which one is learnt from."""
_OPENED = ("transformers", "timm")
"""Libraries whose networks are trained, without an import from here."""


def schedule_of(run: Run) -> Schedule:
    """Return what the recipe says of training; the rate is the safest where it is raced."""
    recipe, fit = run.recipe, run.recipe.fit
    restraints = (fit.label_smoothing, fit.averaging, fit.l2_sp, fit.balanced, fit.gradual)
    technique = Technique(*restraints, recipe.rank)
    rate = recipe.learning_rate or min(RATES)
    return Schedule(recipe.epochs, rate, fit.batch_size, recipe.seed, technique)


WEIGHTS = "network.safetensors"
_SAID = "said.npy"


def finetune(
    run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None = None
) -> FittedNetwork:
    """Fine-tune the network in place, or load what an earlier run came to.

    Rate and length are chosen on the validation set, by the metric. Where it was carved out of
    train, the same is then done again on both together, from the probe of both.

    Which way of training is fastest here depends on timing, so it is found once, kept, and taken
    again by every later run with the same start: a resumed run does the same arithmetic.

    Raises:
        SpecError: torch cannot train on the device that was asked for.
        OutOfTimeError: not one epoch fits the time.
    """
    tuning = FineTuning(run, manifest, fitted, teaching)
    return tuning.settle(tuning.hold(most=1))


def _told(record: Mapping[str, Any]) -> str:
    return f"{told(record)}, epoch {record['best_epoch']} of {len(record['history']) - 1}"


def fit_epochs(
    minutes: float | None, schedule: Schedule, machine: Machine, rows: int, *, before: int = 0
) -> int:
    """Return how many epochs fit the time after some steps; all where there is no limit.

    Raises:
        OutOfTimeError: not even one does.
    """
    if minutes is None:
        return schedule.epochs
    lead = before * machine.step_seconds
    epochs = epochs_within(60 * minutes - lead, schedule, machine.step_seconds, rows)
    if epochs == 0:
        needed = (lead + machine.step_seconds * schedule.steps_of(rows)) / 60
        raise OutOfTimeError(minutes, needed, rows)
    return epochs


class FineTuning:
    """Fine-tuning as a contender; examples are prepared only where they are needed."""

    name = "fine-tuning"

    def __init__(
        self, run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None = None
    ) -> None:
        self._run, self._manifest, self._fitted, self._teaching = run, manifest, fitted, teaching
        self._data = LabelledExamples(run, manifest)
        self._taught_on = manifest.fitted if teaching is None else teaching.examples
        self._prepare = fitted.opened.prepare
        self._first: StageResult | None = None
        self._stage = "lora" if run.recipe.rank else "finetune"
        self._inputs: dict[str, Any] = {
            "probe": fitted.kept.key,
            "asked": asdict(schedule_of(run)),
            "teaching": None if teaching is None else teaching.key,
            "metric": run.recipe.metric,
        }

    def hold(self, *, most: int | None = None) -> Contest:
        """Fine-tune on parts of the labels, at most so many, as many as fit the time."""
        run = self._run
        with telling(run.reporter, f"{self._stage} time") as line:
            self._machine = self._measured(machine_settings.device(run.recipe.fit.device))
            self._schedule = self._fitting_schedule()
            plan = self._plan()
            line.summary = plan.told(self.name, most or len(self._data.parts))
            line.reused = self._machine.reused
        with telling(run.reporter, f"{self._stage} parts") as line:
            self._schedule, self._raced = self._race(line)

            def ask(number: int, part: Part) -> tuple[StageResult, Array]:
                kept = run.store.keep(self._part(number, part), line.progress)
                self._first = kept if number == 0 else self._first
                return kept, np.load(kept.file(_SAID))

            contest = hold(self._data, ask, plan=plan, most=most)
            line.summary, line.reused = contest.told(), contest.reused
        return contest

    def settle(self, contest: Contest, *, shortest: int = 0) -> FittedNetwork:
        """Train on all labels for the number of epochs that is best on held-out ones."""
        length = contest.length(shortest)
        schedule = replace(self._schedule, stop=length)
        inputs = {
            **self._inputs,
            "machine": self._machine.key,
            "schedule": asdict(schedule),
            "parts": len(contest.held.said),
        }

        make = partial(self._train, contest, schedule)
        kept = self._run.keep(Stage(self._stage, inputs, make, _told, _OPENED, together=True))
        load_model(self._fitted.network, kept.file(WEIGHTS))
        return replace(self._fitted, kept=kept, record={**kept.record, **self._raced})

    def _measured(self, where: str) -> StageResult:
        """Find the fastest way to train on a few examples, or take what was found."""

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                few = self._examples(self._manifest.split("train")[:16], room)
                return asdict(
                    machines.measure(self._fitted.network, few, schedule_of(self._run), where)
                )

        here = {"isa": sorted(isa_flags()), "cores": len(_cores()), "device": where}
        here["processes"] = self._run.team.size
        return self._run.store.keep(
            Stage("machine", {**self._inputs, **here}, make, packages=_OPENED)
        )

    def _way(self) -> Machine:
        """Return how training runs, on the device of this very process."""
        found = Machine(**self._machine.record)
        return replace(found, device=self._run.team.device or found.device)

    def _fitting_schedule(self) -> Schedule:
        """Settle the length: as many epochs as fit the time, for one part and for all labels."""
        data, first, asked = self._data, self._data.parts[0], schedule_of(self._run)
        again = len(self._taught_on) if data.refits else 0
        rows = len(self._rows(first)) + len(first.held) // PASSES + again
        minutes = self._run.recipe.time_budget
        epochs = fit_epochs(minutes, asked, self._way(), rows, before=self._raced_steps())
        return replace(asked, epochs=epochs)

    def _raced_steps(self) -> int:
        return 0 if self._run.recipe.learning_rate is not None else len(RATES) * RACED_STEPS

    def _plan(self) -> ContestPlan:
        """Return how long everything takes, by the time of one step."""
        data, schedule, step = self._data, self._schedule, self._way().step_seconds
        first = data.parts[0]
        rows = len(self._rows(first)) + len(first.held) // PASSES
        again = schedule.steps_of(len(self._taught_on)) if data.refits else 0
        each = schedule.epochs * step
        minutes = self._run.recipe.time_budget
        before = self._raced_steps() * step
        return ContestPlan(before, each * schedule.steps_of(rows), each * again, minutes)

    def _race(self, line: Line) -> tuple[Schedule, dict[str, Any]]:
        """Settle the rate; also return what the race of the rates came to."""
        way, schedule, first = self._way(), self._schedule, self._data.parts[0]
        if not self._raced_steps():
            return schedule, {}

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                scores = race(
                    self._start(first), self._lesson(first, room), schedule, way,
                    team=self._run.team, progress=progress,
                )  # fmt: skip
            return {f"{rate:g}": list(found) for rate, found in scores.items()}

        inputs = {**self._inputs, "machine": self._machine.key, "schedule": asdict(schedule)}
        stage = Stage("race", inputs, make, packages=_OPENED, together=True)
        scores = self._run.store.keep(stage, line.progress).record
        best = max(scores, key=lambda rate: scores[rate])
        raced_to = {rate: value for rate, (value, _) in scores.items()}
        return replace(schedule, learning_rate=float(best)), {"raced": raced_to}

    def _part(self, number: int, part: Part) -> Stage:
        """Fine-tune without one part, and keep what is said of it after every epoch."""
        inputs = {
            **self._inputs,
            "machine": self._machine.key,
            "schedule": asdict(self._schedule),
            "part": [part.fitted.tolist(), part.held.tolist()],
        }

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            network = self._start(part)
            with scratch(folder) as room:
                lesson = self._lesson(part, room)
                tuned = train_network(
                    network, lesson, self._schedule, self._way(),
                    progress=progress, team=self._run.team,
                )  # fmt: skip
            np.save(folder / _SAID, tuned.said)
            if number == 0 and not self._data.refits:
                save_model(network, str(folder / WEIGHTS))
            return {"best_epoch": tuned.best_epoch}

        return Stage(f"{self._stage}-part", inputs, make, packages=_OPENED, together=True)

    def _train(
        self, contest: Contest, schedule: Schedule, folder: Path, progress: Progress
    ) -> dict[str, Any]:
        way, taught, length = self._way(), self._teaching, schedule.stop or 0
        network = copy.deepcopy(self._fitted.network)
        first = self._first
        if first is not None and not self._data.refits and first.record["best_epoch"] == length:
            load_model(network, first.file(WEIGHTS))
        elif length:
            with scratch(folder) as room:
                every = self._lesson(None, room)
                train_network(network, every, schedule, way, progress=progress, team=self._run.team)
        cooled, said = contest.settled(length, len(self._data.examples))
        network.cool(cooled)
        save_model(network, str(folder / WEIGHTS))
        np.save(folder / HELD_OUT, said)
        return {
            "method": self._stage,
            "best_epoch": length,
            "history": contest.history(),
            **contest.record(length, self._data),
            "temperature": cooled,
            "schedule": asdict(schedule),
            "machine": {
                "threads": way.threads,
                "bf16": way.bf16,
                "device": way.device,
                "processes": self._run.team.told,
            },
            **({} if taught is None else {"distilled": taught.record}),
        }

    def _start(self, part: Part) -> Classifier:
        """Return the probe that has not seen what a part holds out, on its backbone."""
        head = self._data.head(self._manifest, self._fitted, part)
        return Classifier(copy.deepcopy(self._fitted.network.network), head).eval()

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
        objective = (
            CrossEntropy(smoothing)
            if taught is None
            else taught.objective(self._run, self._fitted.opened)
        )
        return Lesson(
            train, self._examples(held, room) if held else nothing, objective, self._data.metric
        )

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


def _cores() -> range:
    import torch

    return range(torch.get_num_threads())
