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
from safetensors.torch import load_model

from edgetransfer.backbone.model import linear_head
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.tasks.classification.fit.contest import WEIGHTS, Contender, Contest, ContestPlan
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, group_index, read_head
from edgetransfer.tasks.classification.head.texts import (
    Judging,
    fit_with_guesses,
    fit_with_names,
    held_out,
    spelled,
    worth,
)
from edgetransfer.tasks.classification.train.choice import Part, gain
from edgetransfer.tasks.classification.train.contrastive import (
    ContrastiveSchedule,
    course_for,
    tune,
)
from edgetransfer.tasks.classification.train.finetune import measure
from edgetransfer.tasks.classification.train.layers import Classifier
from edgetransfer.tasks.classification.train.lesson import Schedule, Texts, run_in_groups
from edgetransfer.transfer import machine_settings

if TYPE_CHECKING:
    from torch import nn

    from edgetransfer.graph.prepare import TextPreparer
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.fit.probe import FittedNetwork

Array = np.ndarray[Any, Any]


def refuse_pictures(run: Run, manifest: Manifest) -> None:
    """Raise a SpecError for pictures, before the work: nothing was measured of guessing theirs."""
    if "self-training" not in manifest.input.offers:
        raise SpecError(
            "labels are guessed of texts only",
            where=f"--unlabelled {run.recipe.distill.unlabelled}",
            found=f"{manifest.input.noun}s",
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

    make = partial(_fit, run, manifest, fitted, more)
    stage = Stage("self-training", inputs, make, _told_guesses, ContrastiveFit.opened)
    kept = run.keep(stage)
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
    run: Run,
    manifest: Manifest,
    fitted: FittedNetwork,
    more: Sequence[Example],
    folder: Path,
    _: Progress,
) -> dict[str, Any]:
    """Leave ``head.safetensors``, and return what examples say of it that it was not fitted on."""
    labelled, metric = (*manifest.fitted, *manifest.given), run.recipe.metric
    truth = manifest.label_index(labelled)
    count, strength, seed = len(manifest.fitted), fitted.record["strength"], run.recipe.seed
    prepare, every = cast("TextPreparer", fitted.opened.prepare), (*labelled, *more)
    encoder, moved = fitted.network.network, fitted.record.get("moved", False)
    features = features_of(encoder, texts_of(prepare, every, np.arange(len(every))))
    known, unseen, others = np.split(features, [count, len(truth)])
    named = None
    if moved and fitted.record["names"]["heard"]:  # the head that is there has heard them
        named = features_of(encoder, name_texts(prepare, manifest.labels))
    head, guesses = fit_with_guesses(known, truth[:count], others, strength, named=named)
    save_file(asdict(head), folder / "head.safetensors")
    said = [linear_head(fitted.network.head).logits(unseen), head.logits(unseen)]
    if moved:  # such an encoder knows the labels it was fitted on
        crossed = [np.full((count, len(manifest.labels)), np.nan, np.float32)] * 2
    else:
        groups = group_index(run.recipe.data.split_by, manifest.fitted)
        crossed = list(held_out(known, truth[:count], others, strength, groups=groups, seed=seed))
    before, after = (np.concatenate(each) for each in zip(crossed, said, strict=True))
    np.save(folder / HELD_OUT, after.astype(np.float32))
    there = np.isfinite(before).all(axis=1)
    gained = gain(before[there], after[there], truth[there], metric, seed)
    by = "folds and a validation set that were not fitted on"
    return {
        "unlabelled": len(more),
        "guessed": len(guesses.rows),
        "gain": asdict(gained),
        "told": gained.told(),
        "better": gained.clear,
        "held_out": {"metric": metric, "value": gained.after, "n": gained.n, "by": by},
    }


DEVICES = ("cuda", "cpu")
TRIED_TEXTS = 16
"""Texts on which the fastest way of training here is found."""


def refuse_what_it_cannot(run: Run, manifest: Manifest) -> None:
    """Raise a SpecError for pictures, or a device that was not tried, before the work."""
    if "contrastive" not in manifest.input.offers:
        raise SpecError(
            "contrastive fine-tuning is for texts",
            where="--fit contrastive",
            found=f"{manifest.input.noun}s",
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


class ContrastiveFit(Contender):
    """Contrastive fine-tuning as a contender; it tokenises only where that is needed."""

    name = "contrastive fine-tuning"
    stage = "contrastive"
    opened = ("transformers",)

    def __init__(self, run: Run, manifest: Manifest, fitted: FittedNetwork) -> None:
        self._prepare = cast("TextPreparer", fitted.opened.prepare)
        self._strength: float = fitted.record["strength"]
        found = [each for each in machine_settings.devices() if each in DEVICES]
        self.where = run.recipe.fit.device or found[0]
        usual, fit = course_for(manifest.label_index(manifest.fitted)), run.recipe.fit
        self._asked = replace(
            usual,
            epochs=fit.epochs or usual.epochs,
            learning_rate=fit.learning_rate or usual.learning_rate,
            seed=run.recipe.seed,
        )
        course = asdict(self._asked)
        asked = {"labels": manifest.labels, "course": course, "device": self.where}
        super().__init__(run, manifest, fitted, asked)

    def _measured(self) -> Stage:
        return Stage("machine", self._inputs, self._measure, packages=self.opened)

    def _measure(self, _: Path, __: Progress) -> dict[str, Any]:
        few = self._texts(self._manifest.split("train")[:TRIED_TEXTS])
        return asdict(measure(self._fitted.network, few, self._tried(), self.where))

    def _tried(self) -> Schedule:
        return Schedule(self._asked.epochs, self._asked.learning_rate, TRIED_TEXTS, 0)

    def _planned(self) -> ContestPlan:
        """Settle how many epochs of forward and backward passes fit the time."""
        way = self._way()
        slower = replace(way, step_seconds=self._asked.passes * way.step_seconds)
        rows = len(self._data.parts[0].fitted), self._data.fitted
        epochs, plan = self._within(self._tried(), slower, rows)
        self._schedule = replace(self._asked, epochs=epochs)
        return plan

    def _fit_without(
        self, part: Part, _: Path, progress: Progress
    ) -> tuple[Classifier, Array, dict[str, Any]]:
        probe = self._start(part)
        held = self._texts([self._data.examples[row] for row in part.held])
        before = features_of(probe, held)
        moved, facts = self._moved(probe.network, part.fitted, progress)
        return moved, np.stack([before, features_of(moved, held)]), facts

    def _moved(
        self, encoder: nn.Module, rows: Array, progress: Progress
    ) -> tuple[Classifier, dict[str, Any]]:
        """Move an encoder in place by some examples, and fit a head on it; also say how."""
        train = self._texts([self._data.examples[row] for row in rows])
        names = name_texts(self._prepare, self._manifest.labels)
        heard = self._names_help(encoder, train, names, rows)
        course: ContrastiveSchedule = self._schedule
        losses = tune(encoder, train, course, self._way(), progress=progress)
        named = features_of(encoder, names) if heard["heard"] else None
        strength = course.strength * self._strength
        head = fit_with_names(features_of(encoder, train), train.labels, named, strength)
        facts = {"losses": list(losses), "strength": strength, "names": heard}
        return Classifier(encoder, head).eval(), facts

    def _fit_all(
        self, length: int, _: Path, progress: Progress
    ) -> tuple[Classifier, dict[str, Any]]:
        network, first = copy.deepcopy(self._fitted.network), self._first
        if not length:
            return network, {"strength": self._strength}
        if first is not None and not self._data.refits:
            load_model(network, first.file(WEIGHTS))
            return network, dict(first.record)
        return self._moved(network.network, np.arange(self._data.fitted), progress)

    def _recorded(self, contest: Contest, length: int, facts: dict[str, Any]) -> dict[str, Any]:
        return {
            "moved": bool(length),
            **contest.record(length, self._data),
            **facts,
            "course": asdict(self._schedule),
            "machine": self._ran(),
        }

    def _told(self, record: Mapping[str, Any]) -> str:
        return super()._told(record) + ("" if record["moved"] else ": the probe stays")

    def _names_help(
        self, encoder: nn.Module, train: Texts, names: Texts, rows: Array
    ) -> dict[str, Any]:
        """Tell whether names of classes are heard: the frozen encoder's cross-validation says."""
        gained = None
        if self._schedule.names:
            examples = [self._data.examples[row] for row in rows]
            groups = group_index(self._run.recipe.data.split_by, examples)
            judging = Judging(self._data.metric, groups, self._schedule.seed)
            known, named = features_of(encoder, train), features_of(encoder, names)
            gained = worth(known, train.labels, named, self._strength, judging)
        clear = gained is not None and gained.clear
        return {"heard": clear, "gain": None if gained is None else asdict(gained)}

    def _texts(self, chosen: Sequence[Example]) -> Texts:
        return texts_of(self._prepare, chosen, self._manifest.label_index(chosen))


def texts_of(prepare: TextPreparer, chosen: Sequence[Example], labels: Array) -> Texts:
    """Return the tokens of examples."""
    return Texts.of(prepare.join([prepare.prepare(example) for example in chosen]), labels)


def name_texts(prepare: TextPreparer, labels: Sequence[str]) -> Texts:
    """Return the words of classes' names, in the order of the classes."""
    words = prepare.join([prepare.tokens(spelled(label)) for label in labels])
    return Texts.of(words, np.arange(len(labels)))


def features_of(encoder: nn.Module, texts: Texts) -> Array:
    """Return what an encoder makes of texts, or a whole network: float32 [N, D] or [N, C]."""
    with torch.no_grad():
        made: Array = run_in_groups(encoder.eval(), texts, np.arange(len(texts.labels))).numpy()
    return made
