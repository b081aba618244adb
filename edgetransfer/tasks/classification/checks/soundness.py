"""The stages that ask whether this transfer is sound, before fitting and after it.

Soundness, transferability and labels are judged on as few examples as are needed, never of the
test set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.pipeline.stage.rows import rows_stage
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.tasks.classification import study as judged
from edgetransfer.tasks.classification.checks.transferability import ask_neighbours, ask_unseen
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, FittedNetwork, group_index
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import fit_probe, ranks_within
from edgetransfer.transfer.study.baselines import random_features, trivial_features
from edgetransfer.transfer.study.domain import compare_with_source, read_statistics

if TYPE_CHECKING:
    from edgetransfer.backbone.model import LinearHead
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

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
    train = manifest.split("train")
    every = (*train, *manifest.split("validation"))
    truth, groups = manifest.label_index(every), group_index(run.recipe.data.split_by, train)
    most = max(MOST, MOST_OF_A_CLASS * len(manifest.labels))
    first = stratified(truth[: len(train)], most, run.recipe.seed)
    second = len(train) + stratified(truth[len(train) :], most, run.recipe.seed)
    rows = np.concatenate([first, second])
    groups = None if groups is None else groups[first]
    return Chosen(tuple(every[int(row)] for row in rows), rows, truth[rows], len(first), groups)


def stratified(labels: Array, most: int, seed: int) -> Array:
    """Return rows int [M], ascending: at most `most`, every class in its share, at least one each.

    >>> stratified(np.array([0, 0, 0, 0, 1, 1]), 3, seed=0).tolist()
    [2, 3, 5]
    """
    ranks = ranks_within(labels, np.random.default_rng(seed).permutation(len(labels)))
    return np.sort(np.argsort(ranks, kind="stable")[: max(most, len(np.unique(labels)))])


RANDOM = "the same network with random weights"
MAJORITY = "always the commonest class"


def look_before(
    run: Run, manifest: Manifest, opened: OpenedBackbone, features: StageResult
) -> None:
    """Ask before fitting: neighbours against chance, and how far the source is."""
    if run.recipe.soundness:
        run.keep(_look(run, manifest, opened, features))


def examine(run: Run, student: FittedNetwork, fitted: FittedGraph) -> dict[str, Any]:
    """Return the block ``soundness`` of the report for a network that was fitted here."""
    if not run.recipe.soundness:
        return judged.untested("switched off in the recipe")
    manifest, opened = fitted.manifest, student.opened
    features = opened.features(manifest)
    before = run.store.keep(_look(run, manifest, opened, features))
    chosen = choose(run, manifest)
    start = run.keep(_start(run, opened, chosen))
    tuned = None if student.record["method"] == "probe" else student.kept
    inputs = {
        "before": before.key,
        "random start": start.key,
        "fitted": None if tuned is None else tuned.key,
        "metric": run.recipe.metric,
    }

    def make(_: Path, __: Progress) -> dict[str, Any]:
        known = np.load(features.file("features.npy"))[chosen.rows]
        random = np.load(start.file("features.npy"))
        source = opened.backbone.classifier
        said = None if tuned is None else np.load(tuned.file(HELD_OUT))[chosen.rows]
        contests = _contests(run.recipe.seed, chosen, (known, random), source, said)
        return _block(run, before.record, contests)

    return run.keep(Stage("soundness", inputs, make, told_after)).record


def _look(run: Run, manifest: Manifest, opened: OpenedBackbone, features: StageResult) -> Stage:
    chosen = choose(run, manifest)
    inputs = {
        "features": features.key,
        "rows": chosen.rows.tolist(),
        "truth": chosen.truth.tolist(),
        "groups": None if chosen.groups is None else chosen.groups.tolist(),
        "column": run.recipe.data.split_by,
        "seed": run.recipe.seed,
    }

    def make(_: Path, __: Progress) -> dict[str, Any]:
        known = np.load(features.file("features.npy"))[chosen.rows]
        train, truth = known[: chosen.fitted], chosen.truth[: chosen.fitted]
        near = ask_neighbours(train, truth, groups=chosen.groups, seed=run.recipe.seed)
        aside = Known(groups=chosen.groups, source=opened.backbone.classifier)
        unseen = ask_unseen(train, truth, aside, seed=run.recipe.seed)
        column = {"column": run.recipe.data.split_by}
        source = read_statistics(run.source.path, opened.backbone.feature_dim)
        return {
            **({} if near is None else {"neighbours": asdict(near)}),
            **({} if source is None else {"source": asdict(compare_with_source(source, known))}),
            **({} if unseen is None else {"unseen": column | asdict(unseen)}),
        }

    return Stage("neighbours", inputs, make, _told_before)


def _start(run: Run, opened: OpenedBackbone, chosen: Chosen) -> Stage:
    seed = run.recipe.seed
    inputs = {"backbone": opened.kept.key, "examples": content_of(chosen.examples), "seed": seed}

    network, prepare = opened.backbone.network, opened.prepare
    run_it = partial(random_features, network, prepare, chosen.examples, seed=seed)
    told = f"features of {len(chosen.examples)} examples by {RANDOM}"
    return rows_stage("random start", inputs, "features.npy", run_it, lambda _: told)


def _contests(
    seed: int,
    chosen: Chosen,
    features: tuple[Array, Array],
    source: LinearHead | None,
    said: Array | None,
) -> list[judged.Rivals]:
    name, trivial = trivial_features(chosen.examples)
    known, random = features
    probe = _decide(known, chosen, seed, source)
    rivals = {
        RANDOM: _decide(random, chosen, seed),
        f"logistic regression on {name}": _decide(trivial, chosen, seed),
        MAJORITY: np.full(len(chosen.truth), np.bincount(chosen.truth[: chosen.fitted]).argmax()),
    }
    classes = int(chosen.truth.max()) + 1

    def contest(subject: str, accuses: str, decided: Array, rows: Array) -> judged.Rivals:
        others = {each: said[rows] for each, said in rivals.items()}
        return judged.Rivals(
            subject, accuses, chosen.truth[rows], decided[rows], others, classes,
            "held-out examples",
        )  # fmt: skip

    held_out = np.flatnonzero(probe >= 0)
    found = []
    if len(held_out):
        accuses = "this backbone, frozen, knows less about these examples than"
        found.append(contest("probe on this backbone", accuses, probe, held_out))
    if said is not None:
        there = np.isfinite(said).all(axis=1) & (np.stack(list(rivals.values())) >= 0).all(axis=0)
        if there.any():  # what the network decided while it had not seen these
            decided = np.where(there, np.nan_to_num(said).argmax(axis=1), -1)
            accuses = "the fitted network is right less often than"
            found.append(contest("fitted network", accuses, decided, np.flatnonzero(there)))
    return found


def _decide(features: Array, chosen: Chosen, seed: int, source: LinearHead | None = None) -> Array:
    """Return int [N]: train by fits on the other folds, validation by the fit on all of train."""
    truth = chosen.truth[: chosen.fitted]
    known = Known(groups=chosen.groups, source=source)
    probe = fit_probe(features[: chosen.fitted], truth, known=known, seed=seed)
    unseen = np.isnan(probe.held_out).any(axis=1)
    out_of_fold = np.where(unseen, -1, np.nan_to_num(probe.held_out).argmax(axis=1))
    validation = probe.head.logits(features[chosen.fitted :]).argmax(axis=1)
    return np.concatenate([out_of_fold, validation])


def _block(
    run: Run, before: Mapping[str, Any], contests: Sequence[judged.Rivals]
) -> dict[str, Any]:
    """Put what was found together; only what accuses the network that is shipped warns."""
    recipe = run.recipe
    held = [judged.hold_contest(each, recipe.metric, seed=recipe.seed) for each in contests]
    warnings = judged.contest_warnings(contests[-1], held[-1]) if held else []
    warnings += judged.neighbour_warnings(before.get("neighbours"))
    rows = [row for found in held for row in found]
    return {"tested": True, **before, "comparisons": rows, "warnings": warnings}


def _told_before(before: Mapping[str, Any]) -> str:
    parts = []
    near, source, unseen = (before.get(key) for key in ("neighbours", "source", "unseen"))
    if near is None:
        parts.append("a class has one example only: neighbours tell nothing")
    else:
        parts.append(
            f"the {near['k']} nearest are right in {near['accuracy']:.3f}, by chance "
            f"{near['chance']:.3f} (p = {near['p']:.3f})"
        )
    if source is not None:
        parts.append(
            f"{source['median']:.2f} x as far from the source as its own examples, "
            f"{100 * source['far']:.0f} % beyond 99 % of them"
        )
    if unseen is not None:
        parts.append(judged.unseen_cost(unseen))
    return "; ".join(parts)


def told_after(block: Mapping[str, Any]) -> str:
    """Say in a line what the contests of the network that is shipped found; its rows stand last."""
    if block["warnings"]:
        return f"NOT SOUND: {block['warnings'][0]['message']}"
    rows = [row for row in block["comparisons"] if row["rival"] != MAJORITY]
    if not rows:
        return "nothing could be held out"
    rows = [row for row in rows if row["subject"] == rows[-1]["subject"]]
    closest = min(rows, key=lambda row: float(row["ci95_pp"][0]))
    words = {"better": "better than", "undecided": "not shown to be better than"}
    return (
        f"{closest['subject']}: {words[closest['finding']]} {closest['rival']}: "
        f"{judged.difference(closest)}"
    )
