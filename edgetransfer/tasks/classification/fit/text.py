"""The stages of texts: an encoder is moved by pairs of them, a head learns from guesses too."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from safetensors.numpy import save_file
from safetensors.torch import load_model, save_model

from edgetransfer.backbone.model import linear_head
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification.fit.contest import (
    Contest,
    ContestPlan,
    LabelledExamples,
    hold,
)
from edgetransfer.tasks.classification.fit.finetune import WEIGHTS, fit_epochs
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, group_index, read_head, told
from edgetransfer.tasks.classification.head.texts import (
    Judging,
    fit_with_guesses,
    fit_with_names,
    held_out,
    spelled,
    worth,
)
from edgetransfer.tasks.classification.train import finetune as machines
from edgetransfer.tasks.classification.train.choice import gain
from edgetransfer.tasks.classification.train.contrastive import (
    ContrastiveSchedule,
    course_for,
    tune,
)
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.tasks.classification.train.lesson import Schedule, Texts, run_in_groups
from edgetransfer.transfer.train import machine_settings
from edgetransfer.transfer.train.machine_settings import Machine

if TYPE_CHECKING:
    from torch import nn

    from edgetransfer.graph.prepare import TextPreparer
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.fit.probe import FittedNetwork
    from edgetransfer.tasks.classification.train.choice import Part


Array = np.ndarray[Any, Any]


def refuse_pictures(run: Run, manifest: Manifest) -> None:
    """Meet pictures before the work: nothing was measured of guessing theirs.

    Raises:
        SpecError: the examples are pictures.
    """
    if manifest.modality != "text":
        raise SpecError(
            "labels are guessed of texts only",
            where=f"--unlabelled {run.recipe.distill.unlabelled}",
            found="pictures",
            fix="name a teacher with --distill-from, or take --adapt",
        )


def learn_from_guesses(
    run: Run, manifest: Manifest, fitted: FittedNetwork, more: Sequence[Example]
) -> FittedNetwork:
    """Fit the head again with guessed labels, where that is shown to gain.

    It is shown by a validation set that was not fitted on and, where the encoder is as it was, by
    cross-validation too.
    """
    inputs = {
        "fit": fitted.kept.key,
        "labelled": manifest.digest,
        "more": content_of(more),
        "labels": manifest.labels,
        "groups": run.recipe.data.split_by,
        "seed": run.recipe.seed,
    }

    def make(folder: Path, _: Progress) -> dict[str, Any]:
        return _fit(run, manifest, fitted, more, folder)

    kept = run.keep(Stage("self-training", inputs, make, _told_guesses, packages=_OPENED))
    told = kept.record
    record = {**fitted.record, "self_training": told}
    if not told["better"]:
        return replace(fitted, record=record)
    network = Classifier(fitted.network.network, read_head(kept)).eval()
    record["held_out"] = told["held_out"]
    return replace(fitted, network=network, kept=kept, record=record, unlabelled=tuple(more))


def _told_guesses(record: Mapping[str, Any]) -> str:
    return f"{record['guessed']} guessed labels of {record['unlabelled']}, {record['told']}" + (
        "" if record["better"] else ": not better, the head stays"
    )


def _fit(
    run: Run, manifest: Manifest, fitted: FittedNetwork, more: Sequence[Example], folder: Path
) -> dict[str, Any]:
    """Leave ``head.safetensors``, and return what examples say of it that it was not fitted on."""
    labelled, metric = (*manifest.fitted, *manifest.given), run.recipe.metric
    truth = manifest.label_index(labelled)
    count, strength, seed = len(manifest.fitted), fitted.record["strength"], run.recipe.seed
    features = _features(fitted, (*labelled, *more))
    known, unseen, others = np.split(features, [count, len(truth)])
    named = _named(fitted, manifest)
    head, guesses = fit_with_guesses(known, truth[:count], others, strength, named=named)
    save_file(asdict(head), folder / "head.safetensors")
    said = [linear_head(fitted.network.head).logits(unseen), head.logits(unseen)]
    if fitted.record.get("moved", False):  # a moved encoder knows the labels it was fitted on
        crossed = [np.full((count, len(manifest.labels)), np.nan, np.float32)] * 2
    else:
        groups = group_index(run.recipe.data.split_by, manifest.fitted)
        crossed = list(held_out(known, truth[:count], others, strength, groups=groups, seed=seed))
    before, after = (np.concatenate(each) for each in zip(crossed, said, strict=True))
    np.save(folder / HELD_OUT, after.astype(np.float32))
    there = np.isfinite(before).all(axis=1)
    gained = gain(before[there], after[there], truth[there], metric, seed)
    return {
        "unlabelled": len(more),
        "guessed": len(guesses.rows),
        "gain": asdict(gained),
        "told": gained.told(),
        "better": gained.clear,
        "held_out": {
            "metric": metric,
            "value": gained.after,
            "n": gained.n,
            "by": "folds and a validation set that were not fitted on",
        },
    }


def _named(fitted: FittedNetwork, manifest: Manifest) -> Array | None:
    """Return the features of classes' names where the head that is there has heard them."""
    record = fitted.record
    if not (record.get("moved", False) and record["names"]["heard"]):
        return None
    return features_of(fitted.network.network, name_texts(_preparer(fitted), manifest.labels))


def _features(fitted: FittedNetwork, examples: Sequence[Example]) -> Array:
    """Return what the encoder makes of texts, float32 [N, D]."""
    prepare = _preparer(fitted)
    inputs = prepare.join([prepare.prepare(example) for example in examples])
    return features_of(fitted.network.network, Texts.of(inputs, np.arange(len(examples))))


def _preparer(fitted: FittedNetwork) -> TextPreparer:
    return cast("TextPreparer", fitted.opened.prepare)


_SAID = "said.npy"
_OPENED = ("transformers",)
DEVICES = ("cuda", "cpu")
TRIED_TEXTS = 16
"""Texts on which the fastest way of training here is found."""


def course_of(run: Run, manifest: Manifest) -> ContrastiveSchedule:
    """Return what the recipe says of it, and what is usual for so many labels beside that."""
    fit = run.recipe.fit
    usual = course_for(manifest.label_index(manifest.fitted))
    return replace(
        usual,
        epochs=fit.epochs or usual.epochs,
        learning_rate=fit.learning_rate or usual.learning_rate,
        seed=run.recipe.seed,
    )


def refuse_what_it_cannot(run: Run, manifest: Manifest) -> None:
    """Meet pictures, and a device that it was not tried on, before the work.

    Raises:
        SpecError: there is one of these.
    """
    if manifest.modality != "text":
        raise SpecError(
            "contrastive fine-tuning is for texts",
            where="--fit contrastive",
            found="pictures",
            fix="take --fit finetune",
        )
    asked = run.recipe.fit.device
    if asked not in (None, *DEVICES):
        raise SpecError(
            "contrastive fine-tuning was not tried there",
            where=f"--device {asked}",
            expected=" or ".join(DEVICES),
            fix="leave --device out, or take --fit finetune",
        )


def contrast(run: Run, manifest: Manifest, fitted: FittedNetwork) -> FittedNetwork:
    """Move the encoder in place and fit its head again, or load what an earlier run came to.

    Where the metric is worse on the validation set than the probe's, the probe is what is left.

    Raises:
        OutOfTimeError: not one epoch fits the time.
    """
    contender = ContrastiveFit(run, manifest, fitted)
    contest = contender.hold(most=1)
    return contender.settle(contest, shortest=0 if contest.gain.value < 0 else 1)


def _told(record: Mapping[str, Any]) -> str:
    return told(record) + ("" if record["moved"] else ": the probe stays")


class ContrastiveFit:
    """Contrastive fine-tuning as a contender; it tokenises only where that is needed."""

    name = "contrastive fine-tuning"

    def __init__(self, run: Run, manifest: Manifest, fitted: FittedNetwork) -> None:
        self._run, self._manifest, self._fitted = run, manifest, fitted
        self._data = LabelledExamples(run, manifest)
        self._first: StageResult | None = None
        self._prepare = cast("TextPreparer", fitted.opened.prepare)
        self._strength: float = fitted.record["strength"]
        found = [each for each in machine_settings.devices() if each in DEVICES]
        self.where = run.recipe.fit.device or found[0]
        self._asked = course_of(run, manifest)
        self._inputs = {
            "probe": fitted.kept.key,
            "labels": manifest.labels,
            "course": asdict(self._asked),
            "device": self.where,
            "metric": run.recipe.metric,
        }

    def hold(self, *, most: int | None = None) -> Contest:
        """Move the encoder by parts of the labels, at most so many, as many as fit the time."""
        run = self._run
        with telling(run.reporter, "contrastive time") as line:
            measured = Stage("machine", self._inputs, self._measure, packages=_OPENED)
            self._machine = run.store.keep(measured)
            self._course = self._within(run.recipe.time_budget)
            plan = self._plan()
            line.summary = plan.told(self.name, most or len(self._data.parts))
            line.reused = self._machine.reused
        with telling(run.reporter, "contrastive parts") as line:

            def ask(number: int, part: Part) -> tuple[StageResult, Array]:
                kept = run.store.keep(self._part(part), line.progress)
                self._first = kept if number == 0 else self._first
                return kept, np.load(kept.file(_SAID))

            contest = hold(self._data, ask, plan=plan, most=most)
            line.summary, line.reused = contest.told(), contest.reused
        return contest

    def settle(self, contest: Contest, *, shortest: int = 1) -> FittedNetwork:
        """Move the encoder by all labels; with `shortest` 0 the probe stays."""
        inputs = {
            **self._inputs,
            "machine": self._machine.key,
            "course": asdict(self._course),
            "parts": len(contest.held.said),
            "moved": shortest,
        }

        make = partial(self._train, contest, bool(shortest))
        kept = self._run.keep(Stage("contrastive", inputs, make, _told, _OPENED))
        load_model(self._fitted.network, kept.file(WEIGHTS))
        return replace(self._fitted, kept=kept, record=kept.record)

    def _measure(self, _: Path, __: Progress) -> dict[str, Any]:
        """Find the fastest way to train on a few examples."""
        few = self._texts(self._manifest.split("train")[:TRIED_TEXTS])
        return asdict(machines.measure(self._fitted.network, few, self._tried(), self.where))

    def _tried(self) -> Schedule:
        return Schedule(self._asked.epochs, self._asked.learning_rate, TRIED_TEXTS, 0)

    def _within(self, minutes: float | None) -> ContrastiveSchedule:
        """Return the course with as many epochs as fit the time, of forward and backward passes."""
        rows = len(self._data.parts[0].fitted) + (self._data.fitted if self._data.refits else 0)
        return replace(self._asked, epochs=fit_epochs(minutes, self._tried(), self._slower(), rows))

    def _slower(self) -> Machine:
        way = Machine(**self._machine.record)
        return replace(way, step_seconds=self._asked.passes * way.step_seconds)

    def _plan(self) -> ContestPlan:
        """Return how long everything takes, by the time of one step."""
        each, tried = self._course.epochs * self._slower().step_seconds, self._tried()
        part = each * tried.steps_of(len(self._data.parts[0].fitted))
        again = each * tried.steps_of(self._data.fitted) if self._data.refits else 0.0
        return ContestPlan(0.0, part, again, self._run.recipe.time_budget)

    def _part(self, part: Part) -> Stage:
        """Move the encoder without one part, and keep what is said of it before and after."""
        inputs = {
            **self._inputs,
            "machine": self._machine.key,
            "course": asdict(self._course),
            "part": [part.fitted.tolist(), part.held.tolist()],
        }

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            head = self._data.head(self._manifest, self._fitted, part)
            probe = Classifier(copy.deepcopy(self._fitted.network.network), head).eval()
            held = self._texts([self._data.examples[row] for row in part.held])
            before = logits_of(probe, held)
            moved, facts = self._moved(probe.network, part.fitted, progress)
            np.save(folder / _SAID, np.stack([before, logits_of(moved, held)]))
            if len(part.fitted) == self._data.fitted:
                save_model(moved, str(folder / WEIGHTS))
            return facts

        return Stage("contrastive-part", inputs, make, packages=_OPENED)

    def _moved(
        self, encoder: nn.Module, rows: Array, progress: Progress
    ) -> tuple[Classifier, dict[str, Any]]:
        """Move an encoder in place by some examples, and fit a head on it; also say how."""
        train = self._texts([self._data.examples[row] for row in rows])
        names = name_texts(self._prepare, self._manifest.labels)
        heard = self._names_help(encoder, train, names, rows)
        machine, course = Machine(**self._machine.record), self._course
        losses = tune(encoder, train, course, machine, progress=progress)
        named = features_of(encoder, names) if heard["heard"] else None
        strength = course.strength * self._strength
        head = fit_with_names(features_of(encoder, train), train.labels, named, strength)
        facts = {"losses": list(losses), "strength": strength, "names": heard}
        return Classifier(encoder, head).eval(), facts

    def _train(
        self, contest: Contest, moved: bool, folder: Path, progress: Progress
    ) -> dict[str, Any]:
        length, network = int(moved), copy.deepcopy(self._fitted.network)
        facts: dict[str, Any] = {"strength": self._strength}
        first = self._first
        if moved and first is not None and not self._data.refits:
            load_model(network, first.file(WEIGHTS))
            facts = dict(first.record)
        elif moved:
            rows = np.arange(self._data.fitted)
            network, facts = self._moved(network.network, rows, progress)
        cooled, said = contest.settled(length, len(self._data.examples))
        network.cool(cooled)
        save_model(network, str(folder / WEIGHTS))
        np.save(folder / HELD_OUT, said)
        machine = Machine(**self._machine.record)
        return {
            "method": "contrastive",
            "moved": moved,
            **contest.record(length, self._data),
            **facts,
            "temperature": cooled,
            "course": asdict(self._course),
            "machine": {"threads": machine.threads, "bf16": machine.bf16, "device": machine.device},
        }

    def _names_help(
        self, encoder: nn.Module, train: Texts, names: Texts, rows: Array
    ) -> dict[str, Any]:
        """Tell whether names of classes are heard: the frozen encoder's cross-validation says."""
        if not self._course.names:
            return {"heard": False, "gain": None}
        examples = [self._data.examples[row] for row in rows]
        groups = group_index(self._run.recipe.data.split_by, examples)
        gained = worth(
            features_of(encoder, train),
            train.labels,
            features_of(encoder, names),
            self._strength,
            Judging(self._data.metric, groups, self._course.seed),
        )
        if gained is None:
            return {"heard": False, "gain": None}
        return {"heard": gained.clear, "gain": asdict(gained)}

    def _texts(self, chosen: Sequence[Example]) -> Texts:
        inputs = self._prepare.join([self._prepare.prepare(example) for example in chosen])
        return Texts.of(inputs, self._manifest.label_index(chosen))


def name_texts(prepare: TextPreparer, labels: Sequence[str]) -> Texts:
    """Return the words of classes' names, in the order of the classes."""
    words = prepare.join([prepare.tokens(spelled(label)) for label in labels])
    return Texts.of(words, np.arange(len(labels)))


def features_of(encoder: nn.Module, texts: Texts) -> Array:
    """Return what an encoder makes of texts, float32 [N, D]."""
    with torch.no_grad():
        made: Array = run_in_groups(encoder.eval(), texts, np.arange(len(texts.labels))).numpy()
    return made


def logits_of(network: nn.Module, texts: Texts) -> Array:
    """Return what a network decides of texts, float32 [N, C]."""
    return features_of(network, texts)
