"""The stage that looks at labels: which are probably wrong, and what more of them would give.

That is confident learning on held-out probabilities, and the learning curve of a probe. Labels of
the test set are not looked at, and nothing that it finds is dropped or chosen by.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from edgetransfer.graph.prepare import side_by_side
from edgetransfer.measure.stats.power_law import FARTHEST, LabelGain, extrapolate
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, group_index
from edgetransfer.tasks.classification.head.probe import fit_at, folds, ranks_within
from edgetransfer.tasks.classification.study import told_labels

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run

Array = np.ndarray[Any, Any]
SHARES = (0.1, 0.18, 0.32, 0.56, 1.0)
"""Sizes of the nested subsets, as shares of what may be fitted on: four to a factor of ten."""
FEWEST = 2
"""Examples of each class, on average, in the smallest subset."""
MANY = 500
"""Validation examples from which on the curve is judged on them alone."""
DRAWS = 4
DECIDES = 1e-5
"""Tolerance of a fit of which the decisions alone are looked at, as in cross-validation."""
FEWEST_SIZES = 3
"""With fewer there is no telling a curve from a line."""


@dataclass(frozen=True)
class Curve:
    """What was measured.

    Sizes int [S] of examples fitted on ascend; wrong [D, S, M] is 1 where a probe of draw d on
    sizes[s] examples decided example m wrongly, else 0; rows int [M] say which examples those are.
    """

    sizes: Array
    wrong: Array
    rows: Array


@dataclass(frozen=True)
class CurveData:
    """What a curve is measured on: N examples, train first, then validation.

    Features are [N, D]; every class from 0 to C - 1 of labels int [N] occurs in train, the first
    `fitted` of them. `strength` is the probe's C: it is kept, so that more examples weigh more
    against the penalty. Groups are int [N], None without a column to split by.
    """

    features: Array
    labels: Array
    fitted: int
    strength: float
    groups: Array | None = None


def measure_curve(data: CurveData, *, seed: int = 0, progress: Progress = silent) -> Curve | None:
    """Fit probes on nested subsets of several draws, and judge them on what they did not see.

    With 500 validation examples or more, subsets of train are judged on those. With fewer, train
    and validation are put together and cut into folds, so that every example is judged; subsets are
    then of the other folds, and never larger than train. Where examples have groups, folds keep
    them whole, and subsets take one group after another: more examples then mean more groups. None
    where there are too few examples for three sizes.
    """
    pooled = len(data.labels) - data.fitted < MANY
    cut = [(np.arange(data.fitted), np.arange(data.fitted, len(data.labels)))]
    every = [
        list(folds(data.labels, data.groups, seed + draw)) if pooled else cut
        for draw in range(DRAWS)
    ]
    if not all(every):
        return None
    most = min(data.fitted, *(len(train) for cuts in every for train, _ in cuts))
    sizes = subset_sizes(most, int(data.labels.max()) + 1)
    stacked = np.full((DRAWS, len(sizes), len(data.labels)), np.nan, dtype=np.float32)
    fits = []
    for draw, cuts in enumerate(every):
        for train, judged in cuts:
            groups = None if data.groups is None else data.groups[train]
            order = train[nested_order(data.labels[train], groups, seed + draw)]
            fits += [(draw, place, order[:size], judged) for place, size in enumerate(sizes)]
    found = side_by_side(lambda fit: _wrong(data, *fit[2:]), fits)
    for done, ((draw, place, _, judged), wrong) in enumerate(
        zip(fits, found, strict=True), start=1
    ):
        stacked[draw, place, judged] = wrong
        progress(done, len(fits))
    whole = ~np.isnan(stacked).all(axis=2).any(axis=0)  # sizes at which every class was there
    rows = np.flatnonzero(~np.isnan(stacked[:, whole]).any(axis=(0, 1)))
    if whole.sum() < FEWEST_SIZES or not len(rows):
        return None
    return Curve(sizes[whole], stacked[:, whole][:, :, rows], rows)


def _wrong(data: CurveData, fitted: Array, judged: Array) -> Array:
    """Return 1 where a probe on some rows is wrong, NaN where they lack a class."""
    truth = data.labels[fitted]
    if len(np.unique(truth)) <= data.labels.max():
        return np.full(len(judged), np.nan)
    head = fit_at(data.features[fitted], truth, data.strength, tolerance=DECIDES)
    decided = head.logits(data.features[judged]).argmax(axis=1)
    return np.asarray(decided != data.labels[judged], dtype=np.float32)


def subset_sizes(most: int, classes: int) -> Array:
    """Return the sizes of the subsets, int [S], ascending; small ones are left out.

    >>> subset_sizes(100, 2), subset_sizes(100, 10), subset_sizes(30, 10)
    (array([ 10,  18,  32,  56, 100]), array([ 32,  56, 100]), array([30]))
    """
    sizes = np.unique([round(share * most) for share in SHARES])
    return sizes[sizes >= FEWEST * classes]


def nested_order(labels: Array, groups: Array | None, seed: int) -> Array:
    """Return all rows int [N] so that the first n are a stratified subset for every n.

    With groups, the first n hold as few groups as they can.

    >>> labels = np.array([0, 0, 0, 1, 1, 1])
    >>> sorted(labels[nested_order(labels, None, seed=0)[:2]].tolist())
    [0, 1]
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    if groups is not None:
        rank = generator.permutation(int(groups.max()) + 1)
        return np.asarray(shuffled[np.argsort(rank[groups[shuffled]], kind="stable")])
    ranks = ranks_within(labels, shuffled)
    return np.asarray(shuffled[np.argsort(ranks[shuffled], kind="stable")])


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
    right = probabilities.argmax(axis=1) == labels
    typical = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels[right]):
        typical[label] = np.median(probabilities[right & (labels == label), label])
    return typical


MOST_LISTED = 50
TIMES = (1.5, 2.0, 4.0)
"""Multiples of today's training examples that a gain is told for."""
FEWEST_OF_A_CLASS = 30
"""Examples judged from which on a class gets a curve of its own."""


def look_for_suspects(
    run: Run, manifest: Manifest, opened: OpenedBackbone, probe: StageResult
) -> dict[str, Any]:
    """Return all but ``near_duplicates`` of the block ``labelling``, see docs/labels.md."""
    examples = (*manifest.split("train"), *manifest.split("validation"))
    truth = manifest.label_index(examples)
    groups = group_index(run.recipe.data.split_by, examples)
    features = opened.features(manifest)
    train, now = len(manifest.split("train")), len(manifest.fitted)
    inputs = {
        "probe": probe.key,
        "examples": [example.key for example in examples],
        "labels": list(manifest.labels),
        "groups": None if groups is None else groups.tolist(),
    }

    def make(_: Path, progress: Progress) -> dict[str, Any]:
        rows, seed = np.load(features.file("features.npy")), run.recipe.seed
        data = CurveData(rows, truth, train, probe.record["strength"], groups)
        curve = measure_curve(data, seed=seed, progress=progress)
        said = np.load(probe.file(HELD_OUT))
        found = _suspects(said, truth, examples, manifest.labels)
        if curve is not None:
            found["curve"] = _curve((curve, data), now, manifest.labels, seed)
        return found

    stage = Stage("labels", inputs, make, lambda record: "; ".join(told_labels(record)))
    return run.keep(stage).record


def _suspects(
    logits: Array, truth: Array, examples: tuple[Example, ...], labels: tuple[str, ...]
) -> dict[str, Any]:
    found = find_suspects(softmax(logits, axis=1), truth)
    return {
        "judged": int((~np.isnan(logits).any(axis=1)).sum()),
        "suspect": len(found),
        "suspects": [
            {
                "example": examples[each.row].key,
                "split": examples[each.row].split,
                "given": labels[each.given],
                "likely": labels[each.likely],
                "given_probability": round(each.given_probability, 4),
                "likely_probability": round(each.likely_probability, 4),
            }
            for each in found[:MOST_LISTED]
        ],
    }


def _curve(
    measured: tuple[Curve, CurveData], now: int, labels: tuple[str, ...], seed: int
) -> dict[str, Any]:
    """Extrapolate from the first `now` for all classes, and for each whose curve surely falls."""
    (curve, data), last = measured, int(measured[0].sizes[-1])
    wanted = [round(times * now) for times in TIMES if times * now <= FARTHEST * last]
    found = extrapolate(curve.sizes, curve.wrong, now, wanted, seed=seed)
    truth, counts = data.labels[curve.rows], np.bincount(data.labels[:now], minlength=len(labels))
    classes = []
    for number, label in enumerate(labels):
        own = curve.wrong[:, :, truth == number]
        if own.shape[2] < FEWEST_OF_A_CLASS or 2 * now not in wanted:
            continue
        said = extrapolate(curve.sizes, own, now, [2 * now], seed=seed)
        if said.falls:
            classes.append({"label": label, "more": int(counts[number]), **_gain(said.gains[0])})
    return {
        "judged": len(curve.rows),
        "now": now,
        "sizes": curve.sizes.tolist(),
        "error": [round(each, 4) for each in found.error],
        "falls": found.falls,
        "gains": [{"examples": each.size, **_gain(each)} for each in found.gains],
        "classes": sorted(classes, key=lambda row: -float(row["gain_pp"])),
    }


def _gain(gain: LabelGain) -> dict[str, Any]:
    return {"gain_pp": round(gain.gain_pp, 2), "ci95_pp": [round(end, 2) for end in gain.ci95_pp]}
