"""The stages that move what is fitted to the device's pictures, which have no labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sklearn.model_selection import StratifiedKFold

from edgetransfer.data.manifest import Example, Manifest, count
from edgetransfer.errors import DataError, SpecError
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.unlabelled import read_unlabelled
from edgetransfer.spec.options import AUTO
from edgetransfer.tasks.classification import study as judged
from edgetransfer.tasks.classification.fit.network import fit_on_frozen
from edgetransfer.tasks.classification.fit.shift import (
    METHODS,
    ShiftResult,
    ShiftSetting,
    move,
    shift_stage,
)
from edgetransfer.tasks.classification.head.shift import FEWEST, batch_norms

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.tasks.classification.fit.probe import FittedNetwork

FEWEST_TO_CHOOSE = 2
"""Labelled device examples a class that `auto` needs: each half is judged by the other's choice."""


@dataclass(frozen=True)
class DeviceSplit:
    """Labelled examples, less the device's in train and validation, and those of the `device`.

    Where train and validation have none, the device's are those of the test set, which is whole in
    any case: then they are `tested`, and nothing may be chosen by them.
    """

    manifest: Manifest
    device: tuple[Example, ...]
    tested: bool

    def all_judged(self) -> Manifest:
        """Return all examples, the device's as those that something is judged on."""
        aside = tuple(replace(example, split="validation") for example in self.device)
        kept = self.manifest.examples
        return replace(self.manifest, examples=kept if self.tested else (*kept, *aside))


def set_aside(manifest: Manifest, part: str | None) -> DeviceSplit:
    """Part the examples by COLUMN=VALUE, as `Recipe` has checked it.

    Raises:
        DataError: no example has that value, or too few others are left to fit on.
    """
    if part is None:
        return DeviceSplit(manifest, (), tested=False)
    column, _, value = part.partition("=")
    ours = {e.key for e in manifest.examples if e.metadata.get(column, "").strip() == value}
    if not ours:
        raise _no_part(manifest, part, column)
    kept = tuple(e for e in manifest.examples if e.key not in ours or e.split == "test")
    device = tuple(e for e in manifest.examples if e.key in ours)
    aside = tuple(e for e in device if e.split != "test")
    note = f"{count(len(aside), 'labelled example')} of the device ({part}) were set aside"
    notes = (*manifest.notes, note) if aside else manifest.notes
    rest = replace(manifest, examples=kept, notes=notes)
    _refuse_too_few(rest, part)
    return DeviceSplit(rest, aside or device, tested=not aside)


def _no_part(manifest: Manifest, part: str, column: str) -> DataError:
    values = {e.metadata[column].strip() for e in manifest.examples if column in e.metadata}
    columns = sorted({name for e in manifest.examples for name in e.metadata})
    if not columns:
        what = "no columns beside files and labels"
    elif values:
        more = ", ..." if len(values) > 10 else ""
        what = f"{column} is {', '.join(sorted(values)[:10])}{more}"
    else:
        what = f"columns {', '.join(columns[:10])}"
    return DataError(
        "no example is of that part",
        where=f"--device-part {part}",
        found=what,
        expected="a column of the table and one of its values, as COLUMN=VALUE",
    )


def _refuse_too_few(rest: Manifest, part: str) -> None:
    fitted = {example.label for example in rest.split("train")}
    lacking = [label for label in rest.labels if label not in fitted]
    if lacking:
        found = f"no example to train on of {', '.join(lacking[:5])}"
    elif not rest.split("validation"):
        found = "no validation example"
    else:
        return
    raise DataError(
        "too few examples are left without the device's",
        where=f"--device-part {part}",
        found=found,
        fix="give more examples that are not the device's",
    )


def adapt(run: Run, manifest: Manifest) -> tuple[Manifest, FittedNetwork, dict[str, Any]]:
    """Fit a probe, and move it to the device's pictures in the way that was asked for.

    Returned are the examples without the device's labelled ones, the network, and the block of the
    report.

    Raises:
        SpecError: texts, or a network without batch norms whose batch norms are to be set.
        DataError: too few pictures of the device, or too few labelled ones to choose by.
    """
    if "adaptation" not in manifest.input.offers:
        raise SpecError(
            f"the examples are {manifest.input.noun}s, and only pictures can be moved to",
            where=f"--adapt {run.recipe.adapt.method}",
            fix="leave --adapt out: texts without labels serve by --unlabelled alone",
        )
    parts = set_aside(manifest, run.recipe.adapt.device_part)
    _refuse_too_few_labels(run, parts)
    more = _pictures_of_the_device(run, parts)
    rest = replace(parts.manifest, notes=(*parts.manifest.notes, *more.notes))
    opened = OpenedBackbone(run, rest)
    ways = _ways(run, opened)
    features, device = opened.features(rest), opened.features_of(more.examples)
    stage = shift_stage(features, len(rest.fitted), device, run.recipe.seed)
    shift = run.keep(replace(stage, told=judged.told_shift))
    plain = replace(fit_on_frozen(run, rest, opened), unlabelled=more.examples)
    setting = ShiftSetting(run, rest, plain, parts.device, device, shift)
    moved = {way: move(setting, way) for way in ways}
    block, way = _judge(setting, parts, moved)
    return rest, plain if way is None else moved[way].fitted(), block


def _pictures_of_the_device(run: Run, parts: DeviceSplit) -> Manifest:
    more = read_unlabelled(run, parts.all_judged())
    if len(more.examples) < FEWEST:
        raise DataError(
            "too few pictures of the device",
            where=f"--unlabelled {run.recipe.distill.unlabelled}",
            found=f"{len(more.examples)}",
            expected=f"{FEWEST} at least, some hundreds to be worth it",
        )
    return more


def _refuse_too_few_labels(run: Run, parts: DeviceSplit) -> None:
    """Refuse, before the work, to choose by what is not there or by the test set."""
    if run.recipe.adapt.method != AUTO:
        return
    where = f"--device-part {run.recipe.adapt.device_part}"
    if parts.tested:
        raise DataError(
            "all labelled examples of the device are in the test set, and nothing is chosen by it",
            where=where,
            fix="name a method instead of --adapt auto, or put some of them into validation",
        )
    labels = [example.label for example in parts.device]
    few = sorted({label or "" for label in labels if labels.count(label) < FEWEST_TO_CHOOSE})
    if few:
        raise DataError(
            "too few labelled examples of the device to choose by some and judge by others",
            where=where,
            found=f"one of {', '.join(few[:5])}",
            expected=f"{FEWEST_TO_CHOOSE} of each class that it has",
            fix="name a method instead of --adapt auto",
        )


def _ways(run: Run, opened: OpenedBackbone) -> tuple[str, ...]:
    """Return the methods to try, refusing one that this network has no layers for."""
    method, normed = run.recipe.adapt.method, bool(batch_norms(opened.backbone.network))
    if method == "norms" and not normed:
        raise SpecError(
            "the network has no batch norms whose statistics could be set",
            where=run.source.asked,
            fix="take --adapt align, or a backbone with batch norms",
        )
    if method != AUTO:
        return (method,)
    return tuple(way for way in METHODS if normed or way != "norms")


def _judge(
    setting: ShiftSetting, parts: DeviceSplit, moved: dict[str, ShiftResult]
) -> tuple[dict[str, Any], str | None]:
    """Return the block of the report, and the method that is shipped, None for none."""
    recipe = setting.run.recipe
    way: str | None = next(iter(moved))
    block: dict[str, Any] = {
        "asked": recipe.adapt.method,
        "unlabelled": len(setting.plain.unlabelled),
        "shift": setting.shift.record,
    }
    if not parts.device:
        block["unmeasured"] = "no labelled examples of the device were named (--device-part)"
        return {**block, "method": way, **moved[str(way)].kept.record, "warnings": []}, way
    truth = setting.manifest.label_index(parts.device)
    plain = ShiftResult(setting, judged.PLAIN, setting.plain.kept).decide()
    decided = {name: each.decide() for name, each in moved.items()}
    shown = decided[str(way)]
    where = f"labelled examples of the device ({recipe.adapt.device_part})"
    if recipe.adapt.method == AUTO:
        block["tried"] = judged.choose_method(truth, plain, decided, recipe.metric)
        best = block["tried"][0]
        way = best["method"] if best["taken"] else None
        halves = StratifiedKFold(2, shuffle=True, random_state=recipe.seed)
        both = next(halves.split(truth, truth))
        shown = judged.crossed(truth, plain, decided, both, recipe.metric)
        where += ", each by the method that the other half of them chooses"
    comparison = None
    if way is not None:
        where += ", of the test set" if parts.tested else ""
        rivals, classes = {judged.PLAIN: plain}, int(truth.max()) + 1
        contest = judged.Rivals("adapted", "", truth, shown, rivals, classes, where)
        comparison = judged.hold_contest(contest, recipe.metric, seed=recipe.seed)[0]
        block["comparison"] = comparison
    facts = {} if way is None else moved[way].kept.record
    return {**block, "method": way or "none", **facts, "warnings": judged.warnings(comparison)}, way
