"""The fine-tuning stage: all layers or adapters, from the probe's head, with a teacher or without.

It does not look at test examples.
"""

from __future__ import annotations

import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.torch import load_model, save_model

from edgetransfer.agent.environment import isa_flags
from edgetransfer.errors import StageError
from edgetransfer.graph.prepare import TextPreparer, stack
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.stage import Stage
from edgetransfer.pipeline.store import scratch
from edgetransfer.transfer import machine as machines
from edgetransfer.transfer.choice import (
    FEWEST_ERRORS,
    RACED_STEPS,
    RATES,
    epochs_within,
    gain,
    race,
)
from edgetransfer.transfer.finetune import finetune as train_network
from edgetransfer.transfer.lesson import Examples, Lesson
from edgetransfer.transfer.objective import UNLABELLED, CrossEntropy
from edgetransfer.transfer.schedule import Machine, Schedule, Technique
from edgetransfer.transfer.texts import Texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.reporter import Line
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.stage import Kept
    from edgetransfer.pipeline.teaching import Teaching
    from edgetransfer.pipeline.training import FittedNetwork
    from edgetransfer.spec.progress import Progress

_OPENED = ("transformers", "timm")
"""Libraries whose networks are trained, without an import from here."""


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

    Which way of training is fastest here depends on timing, so it is found once, kept, and taken
    again by every later run with the same start: a resumed run does the same arithmetic.

    Raises:
        SpecError: torch cannot train on the device that was asked for.
        OutOfTimeError: not one epoch fits the time.
    """
    where = machines.device(run.recipe.fit.device)
    stage = _stage(run)
    with telling(run.reporter, stage) as line:
        work = _Work(run, manifest, fitted, teaching)
        chosen = work.machine(where)
        schedule, raced = work.schedule(chosen, line)
        inputs = {**work.inputs, "schedule": asdict(schedule), "machine": chosen.key}

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            return work.train(folder, schedule, work.way(chosen), progress)

        kept = run.keep_in(line, Stage(stage, inputs, make, _told, _OPENED, together=True))
        load_model(fitted.network, kept.file("network.safetensors"))
    return replace(fitted, kept=kept, record={**kept.record, **raced})


def _told(record: Mapping[str, Any]) -> str:
    loss, accuracy = record["history"][record["best_epoch"]]
    return (
        f"validation accuracy {accuracy:.3f} (log loss {loss:.3f}), "
        f"epoch {record['best_epoch']} of {len(record['history']) - 1}"
    )


def _stage(run: Run) -> str:
    return "lora" if run.recipe.rank else "finetune"


class OutOfTimeError(StageError):
    """Not one epoch fits the time.

    Attributes:
        told: what one epoch takes.
    """

    def __init__(self, minutes: float, needed: float, rows: int) -> None:
        self.told = (
            f"one epoch over {rows} examples, with what comes before it, takes about "
            f"{needed:.1f} minutes here"
        )
        super().__init__(
            "fine-tuning does not fit the time",
            where=f"--time-budget {minutes:g}",
            found=self.told,
            fix="give more time, or build with --fit probe",
        )


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


def finetune_if_better(run: Run, manifest: Manifest, fitted: FittedNetwork) -> FittedNetwork:
    """Fine-tune where that could be shown to be better, and keep it where it was.

    Raises:
        SpecError: torch cannot train on the device that was asked for.
    """
    count = len(manifest.split("validation"))
    errors = round((1 - fitted.record["validation_accuracy"]) * count)
    if errors < FEWEST_ERRORS:
        why = (
            f"the probe errs on {errors} of {count} validation examples, so few that fine-tuning "
            "could not be shown to be better"
        )
        return _because(run, fitted, why)
    before = copy.deepcopy(fitted.network.state_dict())
    try:
        tuned = finetune(run, manifest, fitted)
    except OutOfTimeError as error:
        return _because(run, fitted, f"fine-tuning does not fit the time: {error.told}")
    gained = tuned.record["gain"]
    low, high = gained["ci95"]
    told = (
        f"fine-tuning took {gained['mean']:.3f} nats [{low:.3f}, {high:.3f}] off the validation "
        f"loss and changed its accuracy by {100 * gained['accuracy']:+.1f} points"
    )
    if gained["proven"]:
        return _because(run, tuned, told)
    fitted.network.load_state_dict(before)
    return _because(run, fitted, f"{told}: no gain that is shown, so the probe is kept")


def _because(run: Run, fitted: FittedNetwork, why: str) -> FittedNetwork:
    """Say why this fit was taken, on the screen and in the record."""
    with telling(run.reporter, "fit") as line:
        line.reused, line.summary = fitted.kept.reused, why
    return replace(fitted, record={**fitted.record, "why": why})


def _cores() -> range:
    import torch

    return range(torch.get_num_threads())


class _Work:
    """Prepares examples only where they are needed."""

    def __init__(
        self, run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None
    ) -> None:
        self._run = run
        self._manifest = manifest
        self._fitted = fitted
        self._prepare = fitted.opened.prepare
        self._network = fitted.network
        self._schedule = schedule_of(run)
        self._teaching = teaching
        self.inputs: dict[str, Any] = {
            "probe": fitted.kept.key,
            "asked": asdict(self._schedule),
            "teaching": None if teaching is None else teaching.key,
        }

    def machine(self, where: str) -> Kept:
        """Find the fastest way to train on a few examples, or take what was found."""

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                few = self._examples(self._manifest.split("train")[:16], room)
                return asdict(machines.measure(self._network, few, self._schedule, where))

        here = {"isa": sorted(isa_flags()), "cores": len(_cores()), "device": where}
        here["processes"] = self._run.team.size
        return self._run.store.keep(
            Stage("machine", {**self.inputs, **here}, make, packages=_OPENED)
        )

    def way(self, machine: Kept) -> Machine:
        """Return how training runs, on the device of this very process."""
        found = Machine(**machine.record)
        return replace(found, device=self._run.team.device or found.device)

    def schedule(self, machine: Kept, line: Line) -> tuple[Schedule, dict[str, Any]]:
        """Settle length and rate; also return what the race of the rates came to."""
        way, recipe = self.way(machine), self._run.recipe
        raced = 0 if recipe.learning_rate is not None else len(RATES) * RACED_STEPS
        epochs = fit_epochs(
            recipe.time_budget, self._schedule, way, len(self._taught_on()), before=raced
        )
        schedule = replace(self._schedule, epochs=epochs)
        if not raced:
            return schedule, {}

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                lesson = self._lesson(room)
                losses = race(
                    self._network,
                    lesson,
                    schedule,
                    way,
                    team=self._run.team,
                    progress=progress,
                )
            return {f"{rate:g}": loss for rate, loss in losses.items()}

        inputs = {**self.inputs, "machine": machine.key, "schedule": asdict(schedule)}
        stage = Stage("race", inputs, make, packages=_OPENED, together=True)
        losses = self._run.store.keep(stage, line.progress).record
        best = min(losses, key=lambda rate: losses[rate])
        return replace(schedule, learning_rate=float(best)), {"raced": losses}

    def train(
        self, folder: Path, schedule: Schedule, machine: Machine, progress: Progress
    ) -> dict[str, Any]:
        """Train, save the weights, and return the record."""
        taught = self._teaching
        with scratch(folder) as room:
            lesson = self._lesson(room)
            tuned = train_network(
                self._network, lesson, schedule, machine, progress=progress, team=self._run.team
            )
        save_model(self._network, str(folder / "network.safetensors"))
        gained = gain(tuned.before, tuned.after, lesson.validation.labels, schedule.seed)
        return {
            "method": _stage(self._run),
            "best_epoch": tuned.best_epoch,
            "history": [list(each) for each in tuned.history],
            "validation_accuracy": tuned.history[tuned.best_epoch][1],
            "gain": {**asdict(gained), "proven": gained.proven},
            "schedule": asdict(schedule),
            "machine": {
                "threads": machine.threads,
                "bf16": machine.bf16,
                "device": machine.device,
                "processes": self._run.team.told,
            },
            **({} if taught is None else {"distilled": taught.record}),
        }

    def _taught_on(self) -> Sequence[Example]:
        taught = self._teaching
        return self._manifest.split("train") if taught is None else taught.examples

    def _lesson(self, room: Path) -> Lesson:
        taught, smoothing = self._teaching, self._schedule.technique.smoothing
        return Lesson(
            self._examples(self._taught_on(), room),
            self._examples(self._manifest.split("validation"), room),
            CrossEntropy(smoothing)
            if taught is None
            else taught.objective(self._run, self._fitted.opened),
        )

    def _examples(self, chosen: Sequence[Example], room: Path) -> Examples:
        labelled = [example for example in chosen if example.label is not None]
        labels = np.full(len(chosen), UNLABELLED)
        labels[: len(labelled)] = self._manifest.label_index(labelled)  # which come first
        if isinstance(self._prepare, TextPreparer):
            joined = self._prepare.join([self._prepare.prepare(example) for example in chosen])
            return Texts.of(joined, labels)
        folder = room / f"{len(list(room.iterdir()))}"
        folder.mkdir()
        files = stack(self._prepare.prepare, chosen, folder)
        return Examples([np.load(file, mmap_mode="r") for file in files.values()], labels)
