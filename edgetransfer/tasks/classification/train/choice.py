"""Chooses by the metric asked for, on examples that were held out: models, rates, lengths.

Every choice is by the metric on the same examples, paired; a log loss only breaks ties, and at the
temperature that mends it: confidence is not accuracy.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.stats.intervals import percentile_bounds
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.head.probe import Score, differences, folds, score
from edgetransfer.tasks.classification.judge.metrics import METRICS, decisions
from edgetransfer.tasks.classification.train.finetune import finetune
from edgetransfer.transfer.team import ALONE, Team

if TYPE_CHECKING:
    from edgetransfer.tasks.classification.train.layers import Classifier
    from edgetransfer.tasks.classification.train.lesson import Lesson, Schedule
    from edgetransfer.transfer.machine_settings import Machine

Array = np.ndarray[Any, Any]
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
"""Learning rates that are raced: what is safe for photographs that ImageNet knows is ten times too
slow for spectrograms."""
RACED_STEPS = 40
RACED_EXAMPLES = 512
MORE_PARTS = 4
"""Parts of the training examples that are held out in turn beside the validation set: with a
validation set of a fifth, every label is held out once."""
WORTH = 0.005
"""Of the metric: less cannot be gained where the probe leaves less to gain, and a standard error
below it says enough."""
SURE = 2.0
"""Standard errors from zero at which a gain or loss needs no further part to be believed."""
RESAMPLES = 1000
FIFTHS = 5


@dataclass(frozen=True)
class Gain:
    """How much better one model decides than another, on the same held-out examples.

    `before` is of the first, the cheaper one; `ci95` is the percentile interval of after - before,
    a paired bootstrap over n examples, and `error` its standard error.
    """

    metric: str
    before: float
    after: float
    ci95: tuple[float, float]
    error: float
    n: int

    @property
    def value(self) -> float:
        """After less before."""
        return self.after - self.before

    @property
    def better(self) -> bool:
        """Whether the second is to be taken, however wide the interval; a tie goes to the first."""
        return self.value > 0

    @property
    def clear(self) -> bool:
        """Whether it is more than a standard error, as names and guesses, which may harm, need."""
        return self.value > self.error

    @property
    def settled(self) -> bool:
        """Whether more held-out examples are not worth their time."""
        return abs(self.value) > SURE * self.error > 0 or 0 < self.error < WORTH / SURE

    def told(self) -> str:
        """Say it in points.

        >>> Gain("top1", 0.8, 0.85, (0.01, 0.09), 0.02, 60).told()
        'top1 0.800 -> 0.850 on 60 held-out examples (+5.0 points [+1.0, +9.0])'
        """
        low, high = self.ci95
        return (
            f"{self.metric} {self.before:.3f} -> {self.after:.3f} on {self.n} held-out examples "
            f"({100 * self.value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}])"
        )


def gain(before: Array, after: Array, labels: Array, metric: str, seed: int) -> Gain:
    """Compare two models on the same examples, paired.

    Logits are float [N, C], the cheaper model's first, labels int [N]; `seed` is of the bootstrap.

    >>> same = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> gain(same, same, np.array([0, 1]), "top1", seed=0).value
    0.0
    """

    def of(truth: Array, decided: Array) -> float:
        return METRICS[metric](truth, decided, before.shape[1])

    first, second = decisions(before), decisions(after)
    drawn = differences(first, second, labels, of, RESAMPLES, seed)
    values = [of(labels, each) for each in (first, second)]
    bounds = percentile_bounds(drawn, 0.95)
    return Gain(metric, values[0], values[1], bounds, float(drawn.std()), len(labels))


def best(said: Sequence[Array], labels: Array, metric: str) -> int:
    """Return which of several models, the cheaper first, decides best, from logits [N, C].

    >>> right, wrong = 9 * np.eye(2), 9 * np.eye(2)[::-1]
    >>> best([wrong, right, right], np.array([0, 1]), "top1")
    1
    """
    values = [METRICS[metric](labels, decisions(each), each.shape[1]) for each in said]
    tied = [number for number, value in enumerate(values) if value == max(values)]
    if len(tied) == 1:
        return tied[0]  # a temperature is fitted where it breaks a tie
    return max(tied, key=lambda number: score(said[number], labels, metric))


@dataclass(frozen=True)
class Part:
    """Rows int of N labelled examples: those fitted on, and those held out."""

    fitted: Array
    held: Array


def parts(
    labels: Array, train: int, *, carved: bool, groups: Array | None, seed: int
) -> tuple[Part, ...]:
    """Return what is held out in turn: the validation set, then parts of the training examples.

    Labels int [N] are of the training examples first, then of the validation set, which may be
    fitted on where it was `carved` out of them; groups int [train] are never on both sides.

    >>> [p.held.tolist() for p in parts(np.arange(10) % 2, 8, carved=True, groups=None, seed=0)]
    [[8, 9], [1, 6], [4, 5], [0, 3], [2, 7]]
    """
    beyond = np.arange(train, len(labels))
    found = [Part(np.arange(train), beyond)] if len(beyond) else []
    for fitted, held in folds(labels[:train], groups, seed, most=MORE_PARTS):
        found.append(Part(np.concatenate([fitted, beyond]) if carved else fitted, held))
    return tuple(found)


@dataclass(frozen=True)
class HeldOut:
    """What was said of examples that were not fitted on, by lengths of training.

    Attributes:
        rows: int [N], which examples.
        said: one a part, float32 [E + 1, n, C]: logits after 0 (the probe) to E epochs. A part that
            stopped early stands by what it last said: to look at no more epochs than the shortest
            part has would end all at half a schedule, where the rate is high.
        truth: int [N], their labels, by which the metric judges.
    """

    rows: Array
    said: tuple[Array, ...]
    truth: Array
    metric: str

    def after(self, epoch: int) -> Array:
        """Return the logits [N, C] after so many epochs."""
        return np.concatenate([each[min(epoch, len(each) - 1)] for each in self.said])

    @property
    def epochs(self) -> int:
        """How many epochs the longest part has."""
        return max(len(each) for each in self.said) - 1

    def length(self, shortest: int = 0) -> int:
        """Return the number of epochs that the metric likes best over all parts."""
        said = [self.after(epoch) for epoch in range(shortest, self.epochs + 1)]
        return shortest + best(said, self.truth, self.metric)

    def crossed(self, seed: int = 0) -> Array:
        """Return logits [N, C] after the number of epochs that *other* examples find best.

        What is chosen by examples looks too good on them. None of them was fitted on, so each fifth
        of all is judged at the length that the other four fifths choose, of whichever part they
        are: by whole parts, a validation set of 400 was judged at what 50 examples chose.
        """
        said = [self.after(epoch) for epoch in range(1, self.epochs + 1)]
        turns = np.random.default_rng(seed).permutation(len(self.truth)) % FIFTHS
        found = said[0].copy()
        for turn in np.unique(turns):
            judged = turns == turn
            others = ~judged if len(turns) > 1 else judged
            length = best([each[others] for each in said], self.truth[others], self.metric)
            found[judged] = said[length][judged]
        return found


def race(
    network: Classifier,
    lesson: Lesson,
    schedule: Schedule,
    machine: Machine,
    *,
    team: Team = ALONE,
    progress: Progress = silent,
) -> dict[float, Score]:
    """Return how validation likes a few steps with each learning rate, on copies.

    The network is a probe on its backbone and stays as it is; of the schedule the rate and the
    length are not used.
    """
    rng = np.random.default_rng(schedule.seed)
    count = len(lesson.train.labels)
    rows = np.sort(rng.permutation(count)[:RACED_EXAMPLES])
    few = replace(lesson, train=lesson.train.take(rows))
    epochs = max(1, math.ceil(RACED_STEPS / schedule.steps_of(len(rows))))
    scores = {}
    for done, rate in enumerate(RATES, start=1):
        short = replace(schedule, epochs=epochs, learning_rate=rate)
        tuned = finetune(copy.deepcopy(network), few, short, machine, team=team)
        scores[rate] = score(tuned.said[-1], few.validation.labels, few.metric)
        progress(done, len(RATES))
    return scores
