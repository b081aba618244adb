"""N-way K-shot episodes over features, and nearest-prototype heads fitted on the few examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from edgetransfer.backbone.model import LinearHead
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.head.linear_heads import scaling

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    class FitHead(Protocol):
        """Fits a head on features [N, D] and labels [N]."""

        def __call__(self, features: Array, labels: Array) -> LinearHead:
            """Return the head."""


Array = np.ndarray[Any, Any]
SHARPNESS = 10.0
"""What cosines are multiplied by to become logits (Gidaris & Komodakis 2018, "Dynamic Few-Shot
Visual Learning without Forgetting", section 3.2, where it is the start of a learnt number)."""


def fit_prototypes(features: Array, labels: Array) -> LinearHead:
    """Fit a nearest-prototype head (Snell et al. 2017) on the cosine between centred features.

    Features are [N, D], and every class from 0 to C - 1 occurs in labels int [N]. With prototypes
    of length 1 the nearest one is the one with the largest product, so the decision is linear in
    the features: centring and scaling are folded into the head. Its logits are `SHARPNESS` times
    the cosine for an example as far from the middle as the examples given were on average. Features
    are divided by the root of their spread as in `fit_probe`.

    >>> head = fit_prototypes(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0, 1]))
    >>> head.logits(np.array([[0.2, 5.0], [-3.0, 1.0]])).argmax(axis=1).tolist()
    [0, 1]
    """
    mean, scale = scaling(features)
    centred = (features - mean) / scale
    lengths = np.linalg.norm(centred, axis=1)
    typical = float(lengths.mean()) or 1.0
    directions = _unit(centred)
    classes = range(int(labels.max()) + 1)
    prototypes = _unit(np.stack([directions[labels == each].mean(axis=0) for each in classes]))
    weight = SHARPNESS / typical * prototypes / scale
    return LinearHead(weight.astype(np.float32), (-weight @ mean).astype(np.float32))


def _unit(rows: Array) -> Array:
    """Divide rows by their lengths; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Array = rows / np.where(lengths > 0, lengths, 1.0)
    return unit


@dataclass(frozen=True)
class EpisodeShape:
    """What an episode is made of: `ways` classes, `shots` to learn from, `queries` to judge by."""

    ways: int
    shots: int
    queries: int = 15


@dataclass(frozen=True)
class Episode:
    """Rows of an episode: support int [ways, shots], query int [ways, queries], none in both."""

    support: Array
    query: Array

    @property
    def support_labels(self) -> Array:
        """int64 [ways * shots]: classes counted anew from 0, as `support.ravel()` runs."""
        return np.repeat(np.arange(len(self.support)), self.support.shape[1])

    @property
    def query_labels(self) -> Array:
        """int64 [ways * queries], as `query.ravel()` runs."""
        return np.repeat(np.arange(len(self.query)), self.query.shape[1])


class Episodes:
    """Draws episodes; number `n` is the same whoever asks, whatever was drawn before.

    Raises:
        DataError: too few classes have enough examples.
    """

    def __init__(self, labels: Array, task: EpisodeShape, seed: int) -> None:
        wanted = task.shots + task.queries
        self._rows = [np.flatnonzero(labels == each) for each in np.unique(labels)]
        enough = [rows for rows in self._rows if len(rows) >= wanted]
        if len(enough) < task.ways:
            raise DataError(
                "too few classes with enough examples for an episode",
                found=f"{len(enough)} of {len(self._rows)} classes have {wanted} examples "
                f"({task.shots} shots and {task.queries} queries)",
                expected=f"{task.ways}",
                fix="take fewer --ways, --shots or --queries",
            )
        self._rows = enough
        self._task = task
        self._seed = seed

    def draw(self, number: int) -> Episode:
        """Return episode `number`."""
        generator = np.random.default_rng([self._seed, number])
        task = self._task
        classes = generator.choice(len(self._rows), task.ways, replace=False)
        wanted = task.shots + task.queries
        drawn = np.stack(
            [generator.choice(self._rows[each], wanted, replace=False) for each in classes]
        )
        return Episode(drawn[:, : task.shots], drawn[:, task.shots :])


def accuracies(
    features: Array,
    episodes: Episodes,
    count: int,
    heads: Mapping[str, FitHead],
    *,
    progress: Progress = silent,
) -> dict[str, Array]:
    """Return the share of right queries in every episode, float64 [count], for each kind of head.

    All heads see the same episodes, so their differences can be paired.
    """
    right = {name: np.empty(count) for name in heads}
    with threadpool_limits(limits=1):
        for number in range(count):
            episode = episodes.draw(number)
            support, query = episode.support.ravel(), episode.query.ravel()
            for name, fit in heads.items():
                head = fit(features[support], episode.support_labels)
                decided = head.logits(features[query]).argmax(axis=1)
                right[name][number] = (decided == episode.query_labels).mean()
            progress(number + 1, count)
    return right


def mean_and_half_width(values: Array) -> tuple[float, float]:
    """Return a mean with half the width of its 95 % interval over episodes (1.96 SE).

    That is how the field reports it (Vinyals et al. 2016; Chen et al. 2019, table 1).

    >>> mean, half = mean_and_half_width(np.array([0.5, 0.7, 0.6, 0.6]))
    >>> round(mean, 3), round(half, 3)
    (0.6, 0.08)
    """
    if len(values) < 2:
        return float(values.mean()), float("nan")
    return float(values.mean()), float(1.96 * values.std(ddof=1) / np.sqrt(len(values)))
