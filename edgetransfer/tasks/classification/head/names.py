"""Names of classes as further texts: words that say what a class is, where labels bear it out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.tasks.classification.head.probe import fit_at, held_out_by
from edgetransfer.tasks.classification.train.choice import Gain, gain

if TYPE_CHECKING:
    from edgetransfer.backbone.model import LinearHead


Array = np.ndarray[Any, Any]
TIMES = 3
"""Texts of its class that a name counts for. On held-out training texts of banking77 (10 labels a
class, four draws, frozen features) the gain was the same to 0.1 points for 1, 2 and 3."""


def spelled(label: str) -> str:
    """Return the words that a label is made of.

    >>> spelled("card_arrival"), spelled("lostCard"), spelled("top-up.failed?"), spelled("7")
    ('card arrival', 'lost Card', 'top up failed', '7')
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", label)
    return " ".join(re.sub(r"[^\w]|_", " ", apart).split()) or label


def fit_with_names(
    features: Array, labels: Array, named: Array | None, strength: float
) -> LinearHead:
    """Fit a head on features [N, D] and labels int [N] as `probe.fit_at` does, with names as texts.

    Those are `named`, the features [C, D] of the classes' names, None where they are not to be
    heard; `strength` is the C of the fit.
    """
    return fit_at(*beside(features, labels, named), strength)


def beside(features: Array, labels: Array, named: Array | None) -> tuple[Array, Array]:
    """Return features and labels with those of names after them, `TIMES` times."""
    if named is None:
        return features, labels
    classes = np.tile(np.arange(len(named)), TIMES)
    return np.concatenate([features, named[classes]]), np.concatenate([labels, classes])


@dataclass(frozen=True)
class Judging:
    """By what metric a choice is made, and on which folds: groups int [N] stay on one side."""

    metric: str
    groups: Array | None = None
    seed: int = 0


def worth(
    features: Array, labels: Array, named: Array, strength: float, judging: Judging
) -> Gain | None:
    """Return what names gain on labelled examples that are held out, cross-validated.

    Features [N, D] and [C, D] (`named`, of the names) are of an encoder that was not fitted on
    these labels, int [N]; `strength` is the C of all fits. A name such as ``class_7`` says nothing
    of what the class is: then nothing is gained, and names are left alone. None where nothing could
    be held out.
    """
    ways = (
        lambda some, truth: fit_at(some, truth, strength),
        lambda some, truth: fit_with_names(some, truth, named, strength),
    )
    without, heard = held_out_by(ways, features, labels, judging.groups, judging.seed)
    judged = np.isfinite(heard).all(axis=1)
    if not judged.any():
        return None
    truth = labels[judged]
    return gain(without[judged], heard[judged], truth, judging.metric, judging.seed)
