"""From a backbone to a fitted network: the student's way, and the teacher's before it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import pdtr

from edgetransfer.backbone.model import linear_head
from edgetransfer.bundle.files import digest_of_value
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.errors import SpecError
from edgetransfer.measure.gates import number
from edgetransfer.measure.stats.paired import Pairs, examples_needed, is_under
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.trace import trace_features
from edgetransfer.pipeline.fit.unlabelled import read_unlabelled
from edgetransfer.pipeline.stage.reporter import Prefixed, telling
from edgetransfer.pipeline.stage.rows import over, rows_stage
from edgetransfer.pipeline.stage.stage import StageResult, made_by
from edgetransfer.spec.progress import part_of
from edgetransfer.spec.recipe import DistillSpec, FitSpec
from edgetransfer.tasks.classification.checks.labels import look_for_suspects
from edgetransfer.tasks.classification.checks.near_duplicates import look_for_near_duplicates
from edgetransfer.tasks.classification.checks.soundness import look_before
from edgetransfer.tasks.classification.fit import text
from edgetransfer.tasks.classification.fit.contest import Contender, because, keep_if_better
from edgetransfer.tasks.classification.fit.finetune import FineTuning, finetune, schedule_of
from edgetransfer.tasks.classification.fit.probe import FittedNetwork, fit_head, read_head
from edgetransfer.tasks.classification.fit.teacher import (
    Teacher,
    TeacherNetwork,
    Teaching,
    keep_look,
)
from edgetransfer.tasks.classification.judge.metrics import METRICS
from edgetransfer.tasks.classification.own.own_model import take_fitted
from edgetransfer.tasks.classification.train.layers import Classifier, projections
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.looks import Views

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.budget import Budget

Array = np.ndarray[Any, Any]
USUALLY_LOST = 0.005
"""Share of decisions that 8 bits are taken to cost, before anything is known: half of those that
may change in a candidate that holds with a margin (`measure.trial.MOST_CHANGED_PCT`)."""


def preview(held_out: Mapping[str, Any], tested: int, budget: Budget) -> str:
    """Say which verdict on the accuracy is probable before anything is compressed.

    `held_out` is how the floats do on what they did not see: ``value``, its ``ci95`` where it is a
    proportion; `tested` is how many test examples there are, of which losses are counted as a
    Poisson number.

    >>> from edgetransfer.spec.budget import Budget
    >>> preview({"value": 0.95}, 1197, Budget())
    'PASS is likely: 8 bits cost about 6 of 1,197 test decisions; 2.0 pp allow for 15'
    >>> preview({"value": 0.95}, 153, Budget())
    'open: 8 bits cost about 1 of 153 test decisions; 2.0 pp allow for none'
    >>> preview({"value": 0.95}, 100, Budget())
    'INCONCLUSIVE: to prove 2.0 pp takes 149 test examples or more, and there are 100'
    >>> preview({"value": 0.8, "ci95": (0.75, 0.84)}, 1197, Budget(min_accuracy=0.9))
    'FAIL is likely: the floats reach at most 0.840, and --min-accuracy asks for 0.9'
    """
    floor, (_, best) = budget.min_accuracy, held_out.get("ci95", (0, 1))
    if floor is not None and best < floor:
        reach = f"the floats reach at most {best:.3f}"
        return f"FAIL is likely: {reach}, and --min-accuracy asks for {floor:g}"
    limit, pp = budget.max_drop_pp / 100, number(budget.max_drop_pp)
    fewest = examples_needed(limit, Pairs(0, 0, tested))
    if fewest is None or tested < fewest:
        needed = f"{fewest:,} test examples or more" if fewest else "more test examples than any"
        return f"INCONCLUSIVE: to prove {pp} pp takes {needed}, and there are {tested:,}"

    def too_many(lost: int) -> bool:
        return not is_under(limit, Pairs(lost, 0, tested))

    may = bisect_left(range(tested), True, key=too_many) - 1
    usual = USUALLY_LOST * tested
    chance, word = pdtr(may, usual), "open"
    if not 0.2 < chance < 0.8:
        word = "PASS is likely" if chance > 0.5 else "INCONCLUSIVE is likely"
    told = f"{word}: 8 bits cost about {max(1, round(usual)):,} of {tested:,} test decisions"
    return f"{told}; {pp} pp allow for {may or 'none'}"


def fit_teacher(run: Run, manifest: Manifest) -> Teacher:
    """Fit the teacher that the run names, on the same split; a fitted .onnx file is taken as it is.

    A fine-tuned teacher keeps the epoch that the metric liked best, which may be the probe that it
    started from. Its schedule is not its student's: patience is for the student.

    Raises:
        DataError: the data has classes that a fitted teacher does not know.
        EdgeTransferError: what goes wrong with a backbone goes wrong with a teacher.
    """
    assert run.teacher is not None  # whoever calls has looked
    fit = FitSpec(method=run.recipe.distill.fit, batch_size=run.recipe.fit.batch_size)
    changes = {"distill": DistillSpec(), "fit": fit, "soundness": False}
    recipe = run.recipe.model_copy(update=changes)
    told = Prefixed(run.reporter, "teacher")
    own = replace(run, recipe=recipe, source=run.teacher, reporter=told, teacher=None)
    return _taken(own, manifest) if run.teacher.layout == "onnx" else _fitted(own, manifest)


def _fitted(run: Run, manifest: Manifest) -> Teacher:
    fitted = fit_network(run, manifest)
    opened = fitted.opened
    kept = opened.kept  # the frozen network is traced already
    if not fitted.frozen:
        network, key = fitted.network.network, fitted.kept.key
        kept = trace_features(run, manifest, opened.prepare, network, key)
    record = _record(run, opened.card, fitted.record)
    asked = TeacherNetwork(kept.file("features.onnx"), kept.key, opened.prepare)
    head = linear_head(fitted.network.head)
    return Teacher(asked, head, np.arange(len(manifest.labels)), fitted.kept.key, record)


def _record(run: Run, card: Mapping[str, Any], fit: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the manifest says of a teacher."""
    source = {"teacher": run.source.name, "digest": run.source.digest, "licence": card["licence"]}
    return {**source, "method": fit["method"], "held_out": fit["held_out"]}


def _taken(run: Run, manifest: Manifest) -> Teacher:
    """Take a model that somebody fitted, and see how good it is."""
    fitted = take_fitted(run, manifest)
    order = np.array([fitted.manifest.labels.index(label) for label in manifest.labels])
    asked = TeacherNetwork(fitted.graph, fitted.key, fitted.preparer())
    validation = manifest.split("validation")

    inputs = {"trace": fitted.key, "examples": content_of(validation)}
    logits = over(asked.graph, partial(run_over, prepare=asked.prepare, examples=validation))
    kept = run.keep(rows_stage("validation", inputs, "logits.npy", logits))
    decided, metric = np.load(kept.file("logits.npy"))[:, order].argmax(axis=1), run.recipe.metric
    value = METRICS[metric](manifest.label_index(validation), decided, len(order))
    by = "the validation set"
    held = {"metric": metric, "value": value, "n": len(validation), "by": by}
    record = _record(run, fitted.facts["backbone"], {"method": "none", "held_out": held})
    return Teacher(asked, None, order, fitted.key, record)


def teach(run: Run, manifest: Manifest) -> tuple[Manifest, Teaching]:
    """Fit the teacher, and keep what it says of every look at every example to train on.

    The manifest with what was noted of the unlabelled pictures, and the teaching.

    Raises:
        SpecError: unlabelled pictures go with texts.
    """
    more = read_unlabelled(run, manifest)
    examples = (*manifest.split("train"), *more.examples)
    teacher = fit_teacher(run, manifest)
    schedule, spec = schedule_of(run), run.recipe.distill
    views = schedule.views if "views" in manifest.input.offers else Views(schedule.seed, 1)
    looks = _ask(run, teacher.asked, examples, views)
    record = {
        **teacher.record,
        "temperature": spec.temperature,
        "weights": spec.model_dump(exclude={"source", "unlabelled", "fit", "temperature"}),
        "views": views.count,
        "unlabelled": len(more.examples),
    }
    heard = {
        "teacher": teacher.key,
        "looks": [kept.key for kept in looks],
        "record": record,
        **made_by((Teaching.__module__,)),
    }
    teaching = Teaching(teacher, looks, examples, views, digest_of_value(heard), record)
    return replace(manifest, notes=(*manifest.notes, *more.notes)), teaching


def _ask(
    run: Run, asked: TeacherNetwork, examples: tuple[Example, ...], views: Views
) -> tuple[StageResult, ...]:
    """Ask about every look in turn; each is kept on its own, so a killed run loses one at most."""
    with telling(run.reporter, "teacher views") as line:
        total = views.count * len(examples)
        kept = []
        for number in range(views.count):
            part = part_of(line.progress, number * len(examples), total)
            kept.append(keep_look(run, asked, examples, views, number, part))
        line.reused = all(each.reused for each in kept)
        line.summary = f"{views.count} of each of {len(examples)} examples"
    return tuple(kept)


def fit_network(
    run: Run, manifest: Manifest, teaching: Teaching | None = None, more: Sequence[Example] = ()
) -> FittedNetwork:
    """Fit the probe and, where the recipe or the evidence says so, layers from there.

    At the end the labels of `more`, texts, are guessed.

    Raises:
        SpecError: the method does not go with the examples or the backbone.
    """
    if run.recipe.fit.method == "contrastive":
        text.refuse_what_it_cannot(run, manifest)
        if more:  # a moved encoder knows its labels: what is guessed needs others to be judged by
            manifest = replace(manifest, carved=False)
    opened = OpenedBackbone(run, manifest)
    if run.recipe.rank:
        _refuse_without_attention(run, opened)
    fitted = fit_on_frozen(run, manifest, opened)
    if run.recipe.fit.method == "contrastive":
        fitted = text.contrast(run, manifest, fitted)
    if more:
        return text.learn_from_guesses(run, manifest, fitted, more)
    if run.recipe.fit.method in ("probe", "contrastive"):
        return fitted
    return _tuned(run, manifest, fitted, teaching)


def _preview(run: Run, manifest: Manifest, probe: StageResult) -> None:
    """Tell which verdict is probable, where accuracy decides and 8 bits are meant; no teacher's."""
    tested = len(
        {example.digest for example in manifest.split("test") if example.label is not None}
    )
    recipe = run.recipe
    asked = recipe.soundness and recipe.quant.precision in ("auto", "w8a8")
    if asked and recipe.metric == "top1" and tested:
        with telling(run.reporter, "preview") as line:
            line.summary = preview(probe.record["held_out"], tested, recipe.budget)
            line.reused = probe.reused


def _tuned(
    run: Run, manifest: Manifest, fitted: FittedNetwork, teaching: Teaching | None
) -> FittedNetwork:
    """Train all layers or adapters, or whatever `auto` finds better."""
    if run.recipe.trains_all_layers or run.recipe.rank:
        return finetune(run, manifest, fitted, teaching)
    if fitted.record["held_out"]["value"] is None:
        return because(run, fitted, "no labelled example can be held out, so the probe is kept")
    contender: Contender = FineTuning(run, manifest, fitted)
    if "contrastive" in manifest.input.offers and run.recipe.fit.device in (None, *text.DEVICES):
        contender = text.ContrastiveFit(run, manifest, fitted)
    return keep_if_better(run, fitted, contender)


def fit_on_frozen(run: Run, manifest: Manifest, opened: OpenedBackbone) -> FittedNetwork:
    """Fit the probe, between what is asked before it and what it says of labels."""
    look_before(run, manifest, opened, opened.features(manifest))
    kept, record = fit_head(run, manifest, opened)
    _preview(run, manifest, kept)
    labels = look_at_labels(run, manifest, opened, kept)
    network = Classifier(opened.backbone.network, read_head(kept))
    return FittedNetwork(opened, network, kept, record, kept, labels)


def look_at_labels(
    run: Run, manifest: Manifest, opened: OpenedBackbone, probe: StageResult
) -> dict[str, Any] | None:
    """Return the block ``labelling`` of the manifest and the report; None where it is off."""
    if not run.recipe.soundness:
        return None
    found = look_for_suspects(run, manifest, opened, probe)
    return {**found, "near_duplicates": look_for_near_duplicates(run, manifest, opened)}


def _refuse_without_attention(run: Run, opened: OpenedBackbone) -> None:
    """Meet a backbone that has no place for adapters before the work."""
    if not projections(opened.backbone.network):
        raise SpecError(
            "adapters go to attention's query and value projections, and this backbone has none",
            where="--fit lora",
            found=run.source.name,
            expected="a transformers encoder whose query, key and value are layers of their own",
            fix="take --fit finetune",
        )
