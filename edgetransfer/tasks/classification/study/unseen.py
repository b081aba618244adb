"""Asks what a group costs that nothing was fitted on: another speaker, camera or hospital."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.tasks.classification.head.probe import fit_probe

if TYPE_CHECKING:
    from edgetransfer.tasks.classification.head.linear_heads import Known

Array = np.ndarray[Any, Any]
FEWEST_GROUPS = 3
"""A spread over two groups says nothing of a third."""


@dataclass(frozen=True)
class Unseen:
    """Cross-validated accuracy of a probe where groups are kept apart, and where they are mixed.

    Attributes:
        groups: how many there are.
        n: examples.
        apart: mean over groups of the accuracy by a probe that saw nothing of that group.
        mixed: the same by a probe that saw the group's other examples.
        cost_pp: mixed - apart, in points.
        ci95_pp: of that, Student's t over groups: the groups are a sample of those to come. Never
            narrower than 3 / n, the rule of three (Hanley and Lippman-Hand 1983) for what was not
            seen once.
    """

    groups: int
    n: int
    apart: float
    mixed: float
    cost_pp: float
    ci95_pp: tuple[float, float]


def ask_unseen(features: Array, labels: Array, known: Known, *, seed: int = 0) -> Unseen | None:
    """Hold out whole groups, then as many examples drawn from all groups, and compare.

    For the second the examples of each class are shuffled among the groups, so that both probes are
    fitted on as many examples of as many classes. Features are [N, D], and every class from 0 to C
    - 1 occurs in labels int [N]. None with under 3 groups, or where the groups leave nothing to
    hold out.
    """
    groups = known.groups
    if groups is None or len(np.unique(groups)) < FEWEST_GROUPS:
        return None
    shuffled = replace(known, groups=_shuffled(groups, labels, seed))
    apart = fit_probe(features, labels, known=known, seed=seed).held_out
    mixed = fit_probe(features, labels, known=shuffled, seed=seed).held_out
    judged = ~(np.isnan(apart) | np.isnan(mixed)).any(axis=1)
    names = np.unique(groups[judged])
    if len(names) < FEWEST_GROUPS:
        return None
    scores = np.array(
        [
            [(said[rows].argmax(axis=1) == labels[rows]).mean() for said in (apart, mixed)]
            for rows in (np.flatnonzero(judged & (groups == name)) for name in names)
        ]
    )
    means = scores.mean(axis=0)
    costs = 100 * (scores[:, 1] - scores[:, 0])
    half = max(_half_width(costs), 300 / int(judged.sum()))
    cost = float(costs.mean())
    return Unseen(
        groups=len(names),
        n=int(judged.sum()),
        apart=float(means[0]),
        mixed=float(means[1]),
        cost_pp=cost,
        ci95_pp=(cost - half, cost + half),
    )


def _shuffled(groups: Array, labels: Array, seed: int) -> Array:
    """Deal the groups anew among the examples of each class."""
    generator = np.random.default_rng(seed)
    dealt = groups.copy()
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        dealt[rows] = groups[generator.permutation(rows)]
    return dealt


def _half_width(values: Array) -> float:
    """Return half the width of Student's 95 % interval of a mean.

    >>> round(_half_width(np.array([1.0, 2.0, 3.0])), 3)  # 4.303 / sqrt(3)
    2.484
    """
    from scipy.special import stdtrit  # as scipy.stats has it, which takes seconds to load

    return float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values)))
