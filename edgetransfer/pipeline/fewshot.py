"""Few-shot evaluation: N-way K-shot episodes over the features of a frozen backbone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.pretrain import Pictures, inner_of
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.transfer.episodes import (
    Episodes,
    Task,
    accuracies,
    fit_prototypes,
    mean_and_half_width,
)
from edgetransfer.transfer.head.linear_heads import Known
from edgetransfer.transfer.head.probe import fit_probe
from edgetransfer.transfer.meta import adapted_accuracies

if TYPE_CHECKING:
    from edgetransfer.backbone.model import Backbone, LinearHead
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.transfer.episodes import FitHead

Array = np.ndarray[Any, Any]


def heads_of(backbone: Backbone) -> dict[str, FitHead]:
    """Return the kinds of head; the regression is fitted on one look, as prototypes are."""

    def regression(features: Array, labels: Array) -> LinearHead:
        return fit_probe(features, labels, known=Known(source=backbone.classifier)).head

    return {"prototypes": fit_prototypes, "regression": regression}


@dataclass(frozen=True)
class EpisodeScore:
    """Accuracy of one head at one number of shots.

    Attributes:
        accuracy: mean over episodes.
        half_width: of its 95 % interval over episodes.
    """

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
    tasks = [Task(trial.ways, shots, trial.queries) for shots in trial.shots]
    drawn = [Episodes(labels, task, run.recipe.seed) for task in tasks]
    opened = OpenedBackbone(run, manifest)
    features = np.load(opened.features_of(manifest.examples).file("features.npy"))
    heads, scores = heads_of(opened.backbone), []
    inner, pictures = inner_of(run.source), Pictures(opened.prepare, manifest.examples)
    for task, episodes in zip(tasks, drawn, strict=True):
        with telling(run.reporter, f"{task.ways}-way {task.shots}-shot") as line:
            right = accuracies(features, episodes, trial.episodes, heads, progress=line.progress)
            if inner is not None:
                right["adapted"] = adapted_accuracies(
                    opened.backbone.network, pictures, episodes, trial.episodes, inner
                )
            found = [
                EpisodeScore(head, task.shots, *mean_and_half_width(values))
                for head, values in right.items()
            ]
            line.summary = ", ".join(f"{each.head} {each.accuracy:.3f}" for each in found)
        scores += found
    return scores
