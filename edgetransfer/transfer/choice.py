"""Chooses by evidence: how fast to fine-tune, and whether that beat the probe it started from.

It never sees a test example.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.bootstrap import percentile_bounds
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.finetune import finetune
from edgetransfer.transfer.lesson import Lesson
from edgetransfer.transfer.team import ALONE, Team

if TYPE_CHECKING:
    from edgetransfer.transfer.classifier import Classifier
    from edgetransfer.transfer.schedule import Machine, Schedule

Array = np.ndarray[Any, Any]

RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Learning rates that are raced: what is safe for photographs that ImageNet knows is ten times too
slow for spectrograms."""
RACED_STEPS = 40
RACED_EXAMPLES = 512
FEWEST_ERRORS = 6
"""Validation errors of the probe below which nothing could be shown to be better: were all of them
mended and none made, a sign test of 5 would still be chance at the 5 % level, two-sided."""
RESAMPLES = 4000


@dataclass(frozen=True)
class Gain:
    """How much smaller the log loss of one model is than that of another, in nats an example.

    Attributes:
        mean: over the examples both decided; positive where the second is better.
        ci95: percentile interval of a paired bootstrap over the examples.
        accuracy: gain of accuracy, as a share.
    """

    mean: float
    ci95: tuple[float, float]
    accuracy: float

    @property
    def proven(self) -> bool:
        """Whether the interval lies above zero, and no accuracy was paid for it."""
        return self.ci95[0] > 0 and self.accuracy >= 0


def gain(before: Array, after: Array, labels: Array, seed: int) -> Gain:
    """Compare two models on the same examples, paired.

    Args:
        before: logits float [N, C] of the first.
        after: logits float [N, C] of the second.
        labels: int [N].
        seed: of the bootstrap.

    >>> same = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> gain(same, same, np.array([0, 1]), seed=0)
    Gain(mean=0.0, ci95=(0.0, 0.0), accuracy=0.0)
    """
    better = _losses(before, labels) - _losses(after, labels)
    drawn = np.random.default_rng(seed).integers(len(better), size=(RESAMPLES, len(better)))
    right = [float((each.argmax(axis=1) == labels).mean()) for each in (before, after)]
    bounds = percentile_bounds(better[drawn].mean(axis=1), 0.95)
    return Gain(float(better.mean()), bounds, right[1] - right[0])


def _losses(logits: Array, labels: Array) -> Array:
    """Return the cross-entropy of every example in nats, float64 [N]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    normaliser = np.log(np.exp(shifted).sum(axis=1))
    return np.asarray(normaliser - shifted[np.arange(len(labels)), labels])


def race(
    network: Classifier,
    lesson: Lesson,
    schedule: Schedule,
    machine: Machine,
    *,
    team: Team = ALONE,
    progress: Progress = silent,
) -> dict[float, float]:
    """Return the validation log loss after a few steps with each learning rate, on copies.

    Args:
        network: a probe on its backbone; it stays as it is.
        lesson: its objective knows no rows, as the examples are drawn anew here.
        schedule: everything but the rate and the length.
        machine: how training runs here.
        team: the processes that share the fit.
        progress: told of rates done.
    """
    rng = np.random.default_rng(schedule.seed)
    count = len(lesson.train.labels)
    rows = np.sort(rng.permutation(count)[:RACED_EXAMPLES])
    few = Lesson(lesson.train.take(rows), lesson.validation, lesson.objective)
    epochs = max(1, math.ceil(RACED_STEPS / schedule.steps_of(len(rows))))
    losses = {}
    for done, rate in enumerate(RATES, start=1):
        short = replace(schedule, epochs=epochs, learning_rate=rate)
        tuned = finetune(copy.deepcopy(network), few, short, machine, team=team)
        losses[rate] = tuned.history[-1][0]
        progress(done, len(RATES))
    return losses


def epochs_within(seconds: float, schedule: Schedule, step_seconds: float, rows: int) -> int:
    """Return how many epochs fit a time, 0 where not even one does.

    >>> from edgetransfer.transfer.schedule import Schedule
    >>> epochs_within(60.0, Schedule(12, 1e-3, 32, 0), step_seconds=1.0, rows=320)
    6
    """
    each = step_seconds * schedule.steps_of(rows)
    return min(schedule.epochs, int(max(0.0, seconds) / each)) if each > 0 else schedule.epochs
