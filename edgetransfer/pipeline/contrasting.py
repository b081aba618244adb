"""The contrastive stage: a text encoder is moved by pairs of its examples, then probed again.

It does not decide whether that is done: the recipe does, or whoever chooses the method.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_model, save_model

from edgetransfer.errors import SpecError
from edgetransfer.graph.prepare import TextPreparer
from edgetransfer.pipeline.finetuning import fit_epochs
from edgetransfer.pipeline.probing import group_index
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.stage import Stage
from edgetransfer.transfer import machine as machines
from edgetransfer.transfer.classifier import Classifier
from edgetransfer.transfer.contrastive import Course, course_for, tune
from edgetransfer.transfer.names import fit_with_names, spelled, worth
from edgetransfer.transfer.probe import log_loss
from edgetransfer.transfer.schedule import Machine, Schedule
from edgetransfer.transfer.texts import Texts, run_in_groups

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.training import FittedNetwork
    from edgetransfer.spec.progress import Progress

Array = np.ndarray[Any, Any]

WEIGHTS = "network.safetensors"
DEVICES = ("cuda", "cpu")
TRIED_TEXTS = 16
"""Texts on which the fastest way of training here is found."""


def course_of(run: Run, manifest: Manifest) -> Course:
    """Return what the recipe says of it, and what is usual for so many labels beside that."""
    fit = run.recipe.fit
    usual = course_for(manifest.label_index(manifest.split("train")))
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
    """Move the encoder and fit its head again, or load what an earlier run came to.

    Where validation likes the probe better, by log loss, the probe is what is left.

    Args:
        run: the build.
        manifest: texts.
        fitted: the probe on the frozen encoder; its network is changed in place.

    Raises:
        OutOfTimeError: not one epoch fits the time.
    """
    work = _Work(run, manifest, fitted)
    asked = {
        "probe": fitted.kept.key,
        "labels": manifest.labels,
        "course": asdict(work.course),
        "device": work.where,
    }
    with telling(run.reporter, "contrastive") as line:
        opened = ("transformers",)
        chosen = run.store.keep(Stage("machine", asked, work.choose_machine, packages=opened))
        way = Machine(**chosen.record)
        course = work.within(run.recipe.time_budget, way)

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            return work.train(folder, course, way, progress)

        inputs = {**asked, "machine": chosen.key, "course": asdict(course)}
        kept = run.keep_in(line, Stage("contrastive", inputs, make, _told, opened))
        load_model(fitted.network, kept.file(WEIGHTS))
    return replace(fitted, kept=kept, record=kept.record)


def _told(record: Mapping[str, Any]) -> str:
    return (
        f"validation accuracy {record['validation_accuracy']:.3f}, "
        f"log loss {record['probe']['log_loss']:.3f} -> {record['contrastive']['log_loss']:.3f}"
        + ("" if record["moved"] else ": the probe stays")
    )


class _Work:
    """Tokenises only where that is needed."""

    def __init__(self, run: Run, manifest: Manifest, fitted: FittedNetwork) -> None:
        assert isinstance(fitted.opened.prepare, TextPreparer)  # whoever calls has looked
        self._manifest = manifest
        self._prepare = fitted.opened.prepare
        self._network = fitted.network
        self._strength: float = fitted.record["strength"]
        self._groups = run.recipe.data.split_by
        found = [each for each in machines.devices() if each in DEVICES]
        self.where = run.recipe.fit.device or found[0]
        self.course = course_of(run, manifest)

    def choose_machine(self, _: Path, __: Progress) -> dict[str, Any]:
        """Find the fastest way to train on a few examples."""
        few = self._texts(self._manifest.split("train")[:TRIED_TEXTS])
        return asdict(machines.measure(self._network, few, self._tried(), self.where))

    def _tried(self) -> Schedule:
        return Schedule(self.course.epochs, self.course.learning_rate, TRIED_TEXTS, 0)

    def within(self, minutes: float | None, machine: Machine) -> Course:
        """Return the course with as many epochs as fit the time, of forward and backward passes."""
        rows = len(self._manifest.split("train"))
        slower = replace(machine, step_seconds=self.course.passes * machine.step_seconds)
        return replace(self.course, epochs=fit_epochs(minutes, self._tried(), slower, rows))

    def train(
        self, folder: Path, course: Course, machine: Machine, progress: Progress
    ) -> dict[str, Any]:
        """Train, save the weights that validation likes better, and return the record."""
        train = self._texts(self._manifest.split("train"))
        validation = self._texts(self._manifest.split("validation"))
        names = name_texts(self._prepare, self._manifest.labels)
        encoder = self._network.network
        before = {name: value.clone() for name, value in self._network.state_dict().items()}
        probe = _judged(self._network, validation)
        heard = self._names_help(encoder, train, names)
        losses = tune(encoder, train, course, machine, progress=progress)
        named = features_of(encoder, names) if heard["heard"] else None
        strength = course.strength * self._strength
        head = fit_with_names(features_of(encoder, train), train.labels, named, strength)
        moved = Classifier(encoder, head).eval()
        contrastive = _judged(moved, validation)
        better = contrastive["log_loss"] < probe["log_loss"]
        if not better:
            self._network.load_state_dict(before)
        save_model(moved if better else self._network, str(folder / WEIGHTS))
        return {
            "method": "contrastive",
            "moved": better,
            "probe": probe,
            "contrastive": contrastive,
            "validation_accuracy": (contrastive if better else probe)["accuracy"],
            "losses": list(losses),
            "strength": strength if better else self._strength,
            "names": heard,
            "course": asdict(course),
            "machine": {
                "threads": machine.threads,
                "bf16": machine.bf16,
                "device": machine.device,
            },
        }

    def _names_help(self, encoder: nn.Module, train: Texts, names: Texts) -> dict[str, Any]:
        """Tell whether names of classes are heard: the frozen encoder's cross-validation says."""
        if not self.course.names:
            return {"heard": False, "gain": None}
        gained = worth(
            features_of(encoder, train),
            train.labels,
            features_of(encoder, names),
            self._strength,
            groups=group_index(self._groups, self._manifest.split("train")),
            seed=self.course.seed,
        )
        if gained is None:
            return {"heard": False, "gain": None}
        return {"heard": gained.proven, "gain": asdict(gained)}

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


def _judged(network: Classifier, texts: Texts) -> dict[str, float]:
    with torch.no_grad():
        logits = run_in_groups(network, texts, np.arange(len(texts.labels))).numpy()
    right = float((logits.argmax(axis=1) == texts.labels).mean())
    return {"log_loss": log_loss(logits, texts.labels), "accuracy": right}
