"""Asks before fitting whether features tell classes apart: nearest neighbours against chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.transfer.study.near_duplicates import directions

if TYPE_CHECKING:
    from collections.abc import Iterator

Array = np.ndarray[Any, Any]
MOST_NEIGHBOURS = 5
PERMUTATIONS = 200
ROWS_AT_ONCE = 512
_TIE = 1e-3
"""Weight of the similarities among equal counts: too small to outvote a neighbour."""


@dataclass(frozen=True)
class NeighbourVotes:
    """Leave-one-out decisions of the nearest neighbours.

    k neighbours voted on n examples; `accuracy` is the share decided rightly, `chance` the mean
    share when the labels are shuffled among the examples, `p` the one-sided permutation p value
    that the labels have nothing to do with the features.
    """

    k: int
    n: int
    accuracy: float
    chance: float
    p: float


def ask_neighbours(
    features: Array, labels: Array, *, groups: Array | None = None, seed: int = 0
) -> NeighbourVotes | None:
    """Let every example be decided by the others that are nearest in cosine, centred features.

    At most 5 neighbours vote, fewer where a class has fewer others; equal counts go to the nearer.
    The p value is that of the permutation test with 200 shuffles (Phipson and Smyth 2010,
    "Permutation p-values should never be zero"): at least 1 / 201.

    Features are [N, D], labels int [N] from 0 to C - 1. Examples of one group, int [N], do not vote
    for each other; the shuffles know nothing of groups: where groups are large and alike inside, p
    is too small. None where a class has one example only, so that nobody of its kind could vote for
    it.

    >>> points = np.array([[1.0, 0], [0.9, 0.1], [-1, 0], [-0.9, 0.1], [0.8, 0], [-0.8, 0]])
    >>> found = ask_neighbours(points, np.array([0, 0, 1, 1, 0, 1]))
    >>> found.k, found.accuracy
    (2, 1.0)
    """
    smallest = int(np.bincount(labels).min())
    if smallest < 2:
        return None
    k = min(MOST_NEIGHBOURS, smallest - 1)
    parts = list(_nearest(directions(features), groups, k))
    who = np.concatenate([rows for rows, _ in parts])
    weight = np.concatenate([weights for _, weights in parts])
    accuracy = _right(who, weight, labels)
    rng = np.random.default_rng(seed)
    shuffled = (rng.permutation(labels) for _ in range(PERMUTATIONS))
    draws = np.array([_right(who, weight, each) for each in shuffled])
    p = (1 + int((draws >= accuracy).sum())) / (1 + PERMUTATIONS)
    return NeighbourVotes(k, len(labels), accuracy, float(draws.mean()), p)


def _nearest(rows: Array, groups: Array | None, k: int) -> Iterator[tuple[Array, Array]]:
    """Yield the k nearest others int [n, k] and their weights; 0 where there are fewer."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = rows[start : start + ROWS_AT_ONCE]
        own = np.arange(start, start + len(part))
        likeness = part @ rows.T
        likeness[np.arange(len(part)), own] = -np.inf
        if groups is not None:
            likeness[groups[own][:, None] == groups[None, :]] = -np.inf
        who = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(likeness, who, axis=1)
        yield who, np.where(np.isfinite(near), 1.0 + _TIE * near, 0.0)


def _right(who: Array, weight: Array, labels: Array) -> float:
    votes = np.zeros((len(labels), int(labels.max()) + 1))
    np.add.at(votes, (np.arange(len(labels))[:, None], labels[who]), weight)
    decided = np.where(votes.max(axis=1) > 0, votes.argmax(axis=1), -1)
    return float((decided == labels).mean())
