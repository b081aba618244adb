"""Chooses the examples on which soundness, transferability and labels are judged.

Never of the test set, and no more than are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.pipeline.probing import group_index

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.run import Run

Array = np.ndarray[Any, Any]

MOST, MOST_OF_A_CLASS = 500, 5
"""Examples of train, and of validation, that are looked at: 500 give an interval of 4 points either
side; where that is under 5 a class, 5 a class."""


@dataclass(frozen=True)
class Chosen:
    """The examples that are looked at: `fitted` of train first, then some of validation.

    Attributes:
        rows: int [N], where they stand among all of train and validation.
        truth: int [N].
        fitted: how many of them probes are fitted on.
        groups: int [fitted], None without a column to split by.
    """

    examples: tuple[Example, ...]
    rows: Array
    truth: Array
    fitted: int
    groups: Array | None


def choose(run: Run, manifest: Manifest) -> Chosen:
    """Take all of train and validation, or a stratified part of each."""
    train, validation = manifest.split("train"), manifest.split("validation")
    truth = manifest.label_index((*train, *validation))
    most = max(MOST, MOST_OF_A_CLASS * len(manifest.labels))
    first = stratified(truth[: len(train)], most, run.recipe.seed)
    second = len(train) + stratified(truth[len(train) :], most, run.recipe.seed)
    rows = np.concatenate([first, second])
    groups = group_index(run.recipe.data.split_by, train)
    every = (*train, *validation)
    return Chosen(
        examples=tuple(every[int(row)] for row in rows),
        rows=rows,
        truth=truth[rows],
        fitted=len(first),
        groups=None if groups is None else groups[first],
    )


def stratified(labels: Array, most: int, seed: int) -> Array:
    """Return rows int [M], ascending: at most `most`, every class in its share, at least one each.

    >>> stratified(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0).tolist()
    [2, 3, 5]
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    sizes = np.bincount(labels)
    seen = np.zeros(len(sizes), dtype=np.int64)
    place = np.empty(len(labels))
    for row in shuffled:
        label = labels[row]
        place[row] = seen[label] / sizes[label]  # 0 for the first of every class
        seen[label] += 1
    kept = np.argsort(place, kind="stable")[: max(most, int((sizes > 0).sum()))]
    return np.sort(kept)
