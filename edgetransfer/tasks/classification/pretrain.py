"""Episodes of pictures: starts are meta-learned over a source, and features judged few-shot."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from edgetransfer.backbone import sources as backbones
from edgetransfer.backbone.files import read_card
from edgetransfer.bundle.files import digest_of, write_json, write_whole, writing
from edgetransfer.data.manifest import Example, content_of
from edgetransfer.errors import DataError, SpecError, first_line
from edgetransfer.graph.embed import PREPARED
from edgetransfer.graph.prepare import Preparer, preparer
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.tasks.classification.episodes import (
    INNER,
    RATES,
    Episodes,
    EpisodeShape,
    Inner,
    MetaTraining,
    accuracies,
    adapted_accuracies,
    fit_prototypes,
    mean_and_half_width,
)
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.transfer.machine_settings import threads

if TYPE_CHECKING:
    from edgetransfer.backbone.model import Source
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.options import MetaMethod
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.episodes import FitHead, Load

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class EpisodeScore:
    """Accuracy of one head at one number of shots: its mean, and half of its 95 % interval."""

    head: str
    shots: int
    accuracy: float
    half_width: float


@dataclass(frozen=True)
class EpisodeTrial:
    """What is tried: classes and queries of an episode, each number of shots, episodes."""

    ways: int
    shots: tuple[int, ...]
    queries: int
    episodes: int


def fewshot(run: Run, trial: EpisodeTrial) -> list[EpisodeScore]:
    """Evaluate every head at every number of shots on the same episodes.

    A start that was meta-learned to be fitted by an inner loop is judged by that too: `adapted`.

    Raises:
        DataError: too few classes have enough examples.
    """
    manifest = read_data(run)
    labels = manifest.label_index(manifest.examples)
    tasks = [EpisodeShape(trial.ways, shots, trial.queries) for shots in trial.shots]
    drawn = [Episodes(labels, task, run.recipe.seed) for task in tasks]
    opened = OpenedBackbone(run, manifest)
    features = np.load(opened.features_of(manifest.examples).file("features.npy"))
    known = Known(source=opened.backbone.classifier)  # one look, as prototypes have
    heads: dict[str, FitHead] = {
        "prototypes": fit_prototypes,
        "regression": lambda rows, classes: fit_probe(rows, classes, known=known).head,
    }
    scores: list[EpisodeScore] = []
    inner, load = inner_of(run.source), partial(pictures, opened.prepare, manifest.examples)
    for task, episodes in zip(tasks, drawn, strict=True):
        with telling(run.reporter, f"{task.ways}-way {task.shots}-shot") as line:
            right = accuracies(features, episodes, trial.episodes, heads, progress=line.progress)
            if inner is not None:
                right["adapted"] = adapted_accuracies(
                    opened.backbone.network, load, episodes, trial.episodes, inner
                )
            found = [
                EpisodeScore(head, task.shots, *mean_and_half_width(values))
                for head, values in right.items()
            ]
            line.summary = ", ".join(f"{each.head} {each.accuracy:.3f}" for each in found)
        scores += found
    return scores


SAVED_EVERY = 50
_STATE = "training.safetensors"
"""Weights, what Adam remembers, the losses so far; what was asked for is its metadata."""
_OF_THE_SOURCE = ("validation_top1", "validation_n", "classifier", "classifier_top1", "sha256")
"""Facts of a card that do not hold of changed weights."""


@dataclass(frozen=True)
class PretrainPlan:
    """What is learnt, from what episodes, and how long: all, or until the minutes are over."""

    method: MetaMethod
    task: EpisodeShape
    episodes: int
    minutes: float | None = None


def pretrain(run: Run, plan: PretrainPlan, out: Path) -> dict[str, Any]:
    """Train, or go on where a run with the same options stopped; returns the card.

    Raises:
        SpecError: a backbone in another layout than edgetransfer's own, or ``out`` holds something
            else.
        DataError: texts, or too few classes with enough pictures.
    """
    if run.source.layout != "builtin":
        raise SpecError(
            "meta-learning takes backbones in edgetransfer's own layout",
            where=run.source.asked,
            expected="builtin:NAME, or a folder that `edgetransfer pretrain` wrote",
        )
    manifest = read_data(run)
    if "meta-learning" not in manifest.input.offers:
        found = f"{manifest.input.noun}s"
        raise DataError("meta-learning is for pictures", found=found, expected="pictures")
    backbone = backbones.load(run.source, manifest.modality)
    train = manifest.split("train")
    episodes = Episodes(manifest.label_index(train), plan.task, run.recipe.seed)
    card = read_card(run.source.path / "card.json")
    facts: dict[str, Any] = {
        "source": {"backbone": run.source.name, "digest": run.source.digest},
        "data": f"{len(train):,} pictures of {len(manifest.labels)} classes, {content_of(train)}",
        "meta": {**asdict(plan.task), "method": plan.method, "inner": asdict(INNER[plan.method])},
        "seed": run.recipe.seed,
    }
    method = plan.method
    training = MetaTraining(backbone.network, method, INNER[method], RATES[method])
    work = _Pretraining(out, facts, training)
    load = partial(pictures, preparer(backbone.preprocessing, None), train)
    with telling(run.reporter, "pretrain") as line, threads(1):
        losses = work.train(load, episodes, plan, line.progress)
        few = max(1, len(losses) // 10)
        first, last = float(np.mean(losses[:few])), float(np.mean(losses[-few:]))
        line.summary = (
            f"{len(losses)} episodes, loss {first:.3f} -> {last:.3f} "
            f"({math.log(plan.task.ways):.3f} by guessing)"
        )
    kept = {name: value for name, value in card.items() if name not in _OF_THE_SOURCE}
    told = {"episodes": len(losses), "loss_first": first, "loss_last": last}
    facts["meta"] |= told
    return work.finish({**kept, **facts, "how": "edgetransfer pretrain"})


def inner_of(source: Source) -> Inner | None:
    """Return how a start was learnt to be fitted to an episode; None where it was not."""
    if source.layout != "builtin":
        return None
    meta = read_card(source.path / "card.json").get("meta")
    inner = None if meta is None else Inner(**meta["inner"])
    return inner if inner is not None and inner.steps else None


def pictures(prepare: Preparer, examples: Sequence[Example], rows: Array) -> torch.Tensor:
    """Return some pictures, float32 [len(rows), 3, h, w], prepared when their episode is drawn."""
    each = [prepare.prepare(examples[int(row)])[PREPARED] for row in rows]
    return torch.from_numpy(np.concatenate(each))


class _Pretraining:
    """The folder that is written, and how far it is."""

    def __init__(self, out: Path, facts: dict[str, Any], training: MetaTraining) -> None:
        self._out, self._training = out, training
        self._asked = json.loads(json.dumps(facts))
        self._losses: list[float] = []
        another = {"where": f"--out {out}", "fix": "name another folder, or delete this one"}
        if (out / _STATE).is_file():
            try:
                with safe_open(out / _STATE, "pt") as file:
                    asked = json.loads(file.metadata()["asked"])
                state = load_file(out / _STATE)
            except (OSError, SafetensorError, ValueError, LookupError, TypeError) as error:
                what, found = "it holds an unfinished run that cannot be read", first_line(error)
                raise SpecError(what, found=found, **another) from error
            if asked != self._asked:
                what = "it holds an unfinished run with other options or data"
                raise SpecError(what, **another)
            self._losses = state.pop("losses").tolist()
            training.resume(state)
        elif out.exists() and any(out.iterdir()):
            raise SpecError(
                "the folder is not empty", where=f"--out {out}", fix="name another folder"
            )

    def train(
        self, load: Load, episodes: Episodes, plan: PretrainPlan, progress: Progress
    ) -> list[float]:
        """Train up to the number of episodes or the time; returns the loss of each."""
        end = None if plan.minutes is None else time.monotonic() + 60 * plan.minutes
        while len(self._losses) < plan.episodes:
            episode = episodes.draw(len(self._losses))
            self._losses.append(self._training.step(load, episode))
            progress(len(self._losses), plan.episodes)
            if end is not None and time.monotonic() > end:
                break
            if len(self._losses) % SAVED_EVERY == 0:
                self._save()
        return self._losses

    def _save(self) -> None:
        """Leave all that going on takes, in one file that is whole or not there."""
        losses = torch.tensor(self._losses, dtype=torch.float64)
        state = {**self._training.state(), "losses": losses}
        self._leave(_STATE, save(state, {"asked": json.dumps(self._asked)}))

    def _leave(self, name: str, content: bytes) -> Path:
        with writing(self._out):
            self._out.mkdir(parents=True, exist_ok=True)
        write_whole(self._out / name, content)
        return self._out / name

    def finish(self, card: dict[str, Any]) -> dict[str, Any]:
        """Write the weights and the card, and remove what was only for going on."""
        state = self._training.network.state_dict()
        tensors = {name: each.contiguous() for name, each in state.items()}
        weights = self._leave("model.safetensors", save(tensors))
        whole = {**card, "sha256": digest_of(weights)}
        write_json(self._out / "card.json", whole)
        (self._out / _STATE).unlink(missing_ok=True)
        return whole
