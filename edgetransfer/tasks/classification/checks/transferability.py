"""What frozen features know of the examples, before a network is fitted.

LogME and the H-score (which compare features of the same examples; alone they say nothing), nearest
neighbours against chance, and what a group costs that nothing was fitted on: another speaker,
camera or hospital.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from edgetransfer.measure.stats.intervals import student
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.transfer.study.near_duplicates import directions

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.tasks.classification.head.linear_heads import Known

Array = np.ndarray[Any, Any]
FEWEST_GROUPS = 3
"""A spread over two groups says nothing of a third."""


@dataclass(frozen=True)
class Unseen:
    """Cross-validated accuracy of a probe where groups are kept apart, and where they are mixed.

    Means over groups, of n examples, by a probe that saw nothing of a group and one that saw its
    others; `cost_pp` is mixed - apart in points. Its interval is Student's t over groups, a sample
    of those to come, and never narrower than 3 / n, the rule of three (Hanley and Lippman-Hand
    1983) for what was not seen once.
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
    means, count = scores.mean(axis=0), int(judged.sum())
    costs = 100 * (scores[:, 1] - scores[:, 0])
    cost = float(costs.mean())
    half = max(_half_width(costs), 300 / count)
    between = cost - half, cost + half
    return Unseen(len(names), count, float(means[0]), float(means[1]), cost, between)


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
    return float(student(len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


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
    draws = np.array([_right(who, weight, rng.permutation(labels)) for _ in range(PERMUTATIONS)])
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


MAX_STEPS, CLOSE = 100, 1e-5


def log_evidence(features: Array, labels: Array) -> float:
    """Return LogME: the mean log evidence of a Bayesian linear model, a class and an example.

    You et al. 2021, "LogME: practical assessment of pre-trained models for transfer learning",
    algorithm 2, with its fixed-point steps for the prior's precision alpha and the noise's beta
    (MacKay 1992). Higher is better. Features are taken as they are, without an intercept.

    Features are [N, D], labels int [N] from 0 to C - 1.

    >>> rng = np.random.default_rng(0)
    >>> labels = np.arange(60) % 2
    >>> told, noise = rng.normal(size=(2, 60, 4))
    >>> told[:, 0] += 3 * labels
    >>> log_evidence(told, labels) > log_evidence(noise, labels)
    True
    """
    with threadpool_limits(limits=1):
        left, singular, _ = np.linalg.svd(features.astype(np.float64), full_matrices=False)
    kept = singular > 1e-10 * max(float(singular[0]), 1e-300)
    left, squared = left[:, kept], singular[kept] ** 2
    targets = [(labels == label).astype(np.float64) for label in range(int(labels.max()) + 1)]
    shape = (len(features), features.shape[1])
    return float(np.mean([_evidence(left, squared, target, shape) for target in targets]))


def _evidence(left: Array, squared: Array, target: Array, shape: tuple[int, int]) -> float:
    """Maximise the evidence of one target [N] over alpha and beta; return it over N."""
    count, width = shape
    along = (left.T @ target) ** 2  # what the features explain of the target, by direction
    beyond = max(float(target @ target - along.sum()), 0.0)
    alpha = beta = 1.0
    for _ in range(MAX_STEPS):
        ratio = alpha / beta
        gamma = float((squared / (squared + ratio)).sum())
        norm, rest = _solution(squared, along, beyond, ratio)
        before, alpha, beta = ratio, gamma / max(norm, 1e-12), (count - gamma) / max(rest, 1e-12)
        if abs(alpha / beta - before) <= CLOSE * before:
            break
    norm, rest = _solution(squared, along, beyond, alpha / beta)
    determinant = np.log(alpha + beta * squared).sum() + (width - len(squared)) * np.log(alpha)
    evidence = width * np.log(alpha) + count * np.log(beta) - determinant
    evidence -= beta * rest + alpha * norm + count * np.log(2 * np.pi)
    return float(evidence) / (2 * count)


def _solution(squared: Array, along: Array, beyond: float, ratio: float) -> tuple[float, float]:
    """Return |m|^2 of the posterior mean m, and the squared residual of its fit."""
    norm = (squared * along / (squared + ratio) ** 2).sum()
    rest = (along * (ratio / (squared + ratio)) ** 2).sum() + beyond
    return float(norm), float(rest)


def h_score(features: Array, labels: Array) -> float:
    """Return the regularised H-score: the variance between classes that features explain.

    Bao et al. 2019, "An information-theoretic approach to transferability in task transfer
    learning": the trace of the inverse covariance times the covariance of the class means. Its
    covariance is shrunk as Ledoit and Wolf (2004) and the means by the same share, for with few
    examples the plain score mostly measures the number of features (Ibrahim et al. 2021, "Newer is
    not always better: rethinking transferability metrics", section 3). Higher is better; at most C
    - 1. Features are [N, D], labels int [N] from 0 to C - 1.
    """
    from sklearn.covariance import ledoit_wolf_shrinkage

    centred = features - features.mean(axis=0, dtype=np.float64)
    count, width = centred.shape
    with threadpool_limits(limits=1):
        _, singular, rotation = np.linalg.svd(centred, full_matrices=False)
        variances = singular**2 / count
        shrinkage = ledoit_wolf_shrinkage(centred, assume_centered=True)
        each_class = range(labels.max() + 1)
        means = np.stack([centred[labels == each].mean(axis=0) for each in each_class]) @ rotation.T
    level = variances.sum() / width
    shrunk = (1 - shrinkage) * variances + shrinkage * level
    if level <= 0:
        return 0.0
    weights = np.bincount(labels) / count
    between = (weights[:, None] * means**2).sum(axis=0)
    return float((1 - shrinkage) * (between / np.maximum(shrunk, 1e-12 * level)).sum())


Row = dict[str, Any]


def transferability(
    run: Run, manifest: Manifest, opened: OpenedBackbone, probe: StageResult
) -> Row:
    """Return LogME and the H-score of the training examples' features."""
    train = manifest.split("train")
    features = opened.features(manifest)
    truth = manifest.label_index(train)

    def make(_: Path, __: Progress) -> Row:
        rows = np.load(features.file("features.npy"))[: len(train)]
        return {"logme": log_evidence(rows, truth), "h_score": h_score(rows, truth)}

    told = "LogME {logme:.3f}, H-score {h_score:.3f}".format_map
    return run.keep(Stage("transferability", {"probe": probe.key}, make, told)).record
