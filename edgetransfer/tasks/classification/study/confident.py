"""Finds labels that are probably wrong: confident learning on held-out probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Suspect:
    """An example whose label is probably wrong: class numbers, and their held-out probabilities."""

    row: int
    given: int
    likely: int
    given_probability: float
    likely_probability: float


def confident_joint(probabilities: Array, labels: Array) -> tuple[Array, Array]:
    """Count examples by given label and by the class they confidently are.

    A class is confident where its probability reaches the mean of that class among examples that
    have it as label; of several the most probable counts, where none is confident the example does
    not count (Northcutt, Jiang, Chuang 2021, "Confident learning", section 3.1). Rows are then
    scaled so that each given label counts as often as it occurs.

    Probabilities are float [N, C], of each example by a model that was not fitted on it; a class
    without a label of int [N] is never confident. Returned are the joint float [C, C], given by
    true, and the confident class int [N], -1 for none.

    >>> said = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.05, 0.95]])
    >>> joint, sure = confident_joint(said, np.array([0, 0, 1, 1, 0]))
    >>> sure.tolist(), joint.tolist()
    ([0, 0, 1, -1, 1], [[2.0, 1.0], [0.0, 2.0]])
    """
    count, classes = probabilities.shape
    sizes = np.bincount(labels, minlength=classes)
    own = np.bincount(labels, probabilities[np.arange(count), labels], classes)
    threshold = np.where(sizes > 0, own / np.maximum(sizes, 1), np.inf)
    reached = np.where(probabilities >= threshold, probabilities, -1.0)
    sure = np.where(reached.max(axis=1) >= 0, reached.argmax(axis=1), -1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (labels[sure >= 0], sure[sure >= 0]), 1.0)
    counted = joint.sum(axis=1, keepdims=True)
    joint *= np.divide(sizes[:, None], counted, out=np.ones_like(counted), where=counted > 0)
    return joint, sure


def find_suspects(probabilities: Array, labels: Array) -> list[Suspect]:
    """Return the examples whose label is probably wrong, the most probable first.

    An example is listed where it is confidently another class (`confident_joint`), no more of a
    pair of classes than the joint says, and where that class is as probable as it is for the
    median of the examples that are rightly held to be of it. The last is ours: confident learning
    alone lists what is merely hard, 26 of 2,000 spoken digits with sound labels instead of 4
    (`docs/labels.md`). The order is that of the normalised margin, likely - given.

    Probabilities are float [N, C], held out, of which rows of NaN are not judged; labels int [N].

    >>> sound = np.tile([[0.9, 0.1], [0.1, 0.9]], (3, 1))
    >>> said = np.concatenate([sound, [[0.05, 0.95], [0.2, 0.8]]])
    >>> found = find_suspects(said, np.array([0, 1, 0, 1, 0, 1, 0, 0]))
    >>> [(each.row, each.given, each.likely) for each in found]
    [(6, 0, 1)]
    """
    judged = np.flatnonzero(~np.isnan(probabilities).any(axis=1))
    said, given = probabilities[judged], labels[judged]
    joint, sure = confident_joint(said, given)
    own = said[np.arange(len(given)), given]
    typical = _typical(said, given)
    doubted = np.flatnonzero((sure >= 0) & (sure != given))
    doubted = doubted[said[doubted, sure[doubted]] >= typical[sure[doubted]]]
    margin = said[doubted, sure[doubted]] - own[doubted]
    left = np.rint(joint).astype(int)
    found = []
    for place in doubted[np.argsort(-margin, kind="stable")]:
        pair = int(given[place]), int(sure[place])
        if left[pair] > 0:
            left[pair] -= 1
            chances = float(own[place]), float(said[place, pair[1]])
            found.append(Suspect(int(judged[place]), *pair, *chances))
    return found


def _typical(probabilities: Array, labels: Array) -> Array:
    """Return [C]: the median probability of a class where it is rightly the most probable."""
    decided = probabilities.argmax(axis=1)
    typical = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        right = (labels == label) & (decided == label)
        if right.any():
            typical[label] = np.median(probabilities[right, label])
    return typical
