"""Adds a class to a bundle from a few examples, and checks what that does to the old ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.bundle.opened import Bundle, open_bundle
from edgetransfer.data.decode import decode
from edgetransfer.data.digests import picture_digest, text_digest
from edgetransfer.data.inputs import asked_about
from edgetransfer.data.sources import load
from edgetransfer.errors import DataError, SpecError
from edgetransfer.export.onnx_bundle import TOKENIZER
from edgetransfer.graph.prepare import Preparer, preparer
from edgetransfer.measure.sample import draw
from edgetransfer.measure.stats.intervals import wilson
from edgetransfer.pipeline.bench.bench import golden_of, read_new, refuse_other_kind
from edgetransfer.pipeline.stage.reporter import Reporter, telling
from edgetransfer.spec.progress import silent
from edgetransfer.tasks.classification.head.new_class import (
    FeatureStatistics,
    expected_accuracy,
    fit_row,
    held_out,
    measure_statistics,
)
from edgetransfer.tasks.classification.judge.comparison import compare
from edgetransfer.tasks.classification.judge.gates import accuracy
from edgetransfer.tasks.classification.judge.metrics import Outcomes
from edgetransfer.tasks.classification.labels import CLASSES
from edgetransfer.tasks.classification.ship.feature_statistics import run_as_shipped
from edgetransfer.tasks.classification.ship.head_files import with_features, with_head
from edgetransfer.tasks.classification.ship.heads import (
    Networks,
    heads_of,
    rebuild,
    refuse_to_overwrite,
    statistics_of,
)

if TYPE_CHECKING:
    import onnx

    from edgetransfer.backbone.model import LinearHead
    from edgetransfer.data.manifest import Example
    from edgetransfer.measure.gates import Gate, Status
    from edgetransfer.spec.recipe import DataSpec


def refuse_name(bundle: Bundle, name: str) -> None:
    """Raise a SpecError where a name is not one line, or a class of the bundle."""
    if name in bundle.labels:
        raise SpecError(
            "the bundle has this class already",
            where="NAME",
            found=repr(name),
            fix="name another class; to fit this one again, build again",
        )
    if not name.strip() or len(name.splitlines()) > 1:
        raise SpecError(
            "not a name of a class", where="NAME", found=repr(name), expected="one line of text"
        )


def examples_of(bundle: Bundle, name: str, inputs: Sequence[str]) -> tuple[Example, ...]:
    """Read the examples of a new class, each content once.

    Raises:
        DataError: some cannot be read, all are named; there is none; or the bundle knows some.
    """
    found, problems = {}, []
    for asked in asked_about(inputs, bundle.preprocessing.kind):
        try:
            if asked.example is None:
                problems.append(str(asked.problem))
                continue
            digest = _digest_of(asked.example)
        except DataError as error:
            problems.append(str(error))
            continue
        found[digest] = replace(asked.example, label=name, split="train", digest=digest)
    if problems:
        raise DataError("\n".join(problems))
    if not found:
        raise DataError("there are no examples of the new class", where=name)
    again = bundle.fitted_on & set(found)
    if again:
        raise DataError(
            "examples of the new class are among those that the bundle was fitted on",
            where=", ".join(found[digest].key for digest in sorted(again)),
            fix="leave them out, or build again with the classes parted as they should be",
        )
    return tuple(found.values())


def _digest_of(example: Example) -> str:
    if example.path is None:
        return text_digest(example.text or "")
    return picture_digest(decode(example.path))


def training_examples(bundle: Bundle, data: DataSpec | None) -> tuple[Example, ...]:
    """Read training examples of the classes of a bundle that keeps no statistics.

    Raises:
        DataError: there is no data, or it has not some of each class, and two of one.
    """
    if data is None:
        raise DataError(
            "the bundle keeps nothing of the features of its classes",
            where=str(bundle.folder),
            fix="give labelled examples of the old classes: --data DATA",
        )
    manifest = load(data, CLASSES, seed=0)
    refuse_other_kind(bundle, manifest, data)
    found = tuple(each for each in manifest.split("train") if each.label in bundle.labels)
    counts = Counter(each.label for each in found)
    lacking = [label for label in bundle.labels if not counts[label]]
    if lacking or max(counts.values()) < 2:
        raise DataError(
            "the data has too few training examples of old classes",
            where=data.source,
            found="none of " + ", ".join(lacking[:10]) if lacking else "one of each",
            expected="some of each class, and two of one at least",
        )
    return found


def examples_to_check(
    bundle: Bundle, data: DataSpec | None, name: str, used: Collection[str]
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Return labelled examples of the old classes and the new one, and warnings about them.

    Without data the golden ones are taken; those `used` by digest to fit the head are left out.

    Raises:
        DataError: they cannot be read, are of other classes, or none is of an old class.
    """
    given: Sequence[Example] = ()
    notes: tuple[str, ...] = ()
    if data is None:
        given = golden_of(bundle)
    else:
        manifest = read_new(bundle, data, (*bundle.labels, name), silent)
        every = manifest.examples
        places, sample = draw(
            [each.digest for each in every], [each.label for each in every], bundle.fitted_on
        )
        given, notes = [every[i] for i in places], (*manifest.notes, *sample.told())
    kept = tuple(each for each in given if each.label is not None and each.digest not in used)
    if not any(each.label in bundle.labels for each in kept):
        raise DataError(
            "there is no labelled example of an old class to check with",
            where="the golden examples" if data is None else data.source,
            fix="give some: --data DATA",
        )
    return kept, notes


Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Addition:
    """What is to be added: a class by the inputs of its examples, picture files or texts.

    It is checked with labelled examples of the old classes in `data`, None for the golden ones;
    these may lose `max_drop` accuracy points, None for the bundle's budget.
    """

    name: str
    inputs: tuple[str, ...]
    data: DataSpec | None = None
    max_drop: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class AddClassResult:
    """What came of it: the old classes' loss against what is allowed, and the new bundle or None.

    The record has every number, in plain JSON types, and goes into the manifest as well.
    """

    status: Status
    message: str
    record: dict[str, Any]
    notes: tuple[str, ...]
    folder: Path | None


@dataclass(frozen=True)
class _AddClass:
    bundle: Bundle
    networks: Networks
    prepare: Preparer
    addition: Addition

    def features(self, examples: Sequence[Example]) -> Array:
        return self.run(with_features(self.networks.core), examples)

    def run(self, model: onnx.ModelProto, examples: Sequence[Example]) -> Array:
        session = self.bundle.manifest["session"]
        return run_as_shipped(model, session, self.prepare, examples, silent)


def add_class(folder: Path, addition: Addition, out: Path, reporter: Reporter) -> AddClassResult:
    """Add a class and write the bundle that has it, unless old classes lose more than allowed.

    The old bundle stays as it is; `out` must not exist.

    Raises:
        SpecError: not a bundle, the class is there already, or `out` exists.
        DataError: examples cannot be read, or nothing is known of the old classes.
        UnsupportedError: the network does not end in a linear head.
    """
    bundle = open_bundle(folder)
    refuse_name(bundle, addition.name)
    refuse_to_overwrite(out)
    prepare = preparer(bundle.preprocessing, bundle.file(TOKENIZER))
    work = _AddClass(bundle, Networks.of(bundle), prepare, addition)
    heads = heads_of(bundle, work.networks)
    allowed = addition.max_drop or bundle.recipe.budget.max_drop_pp
    with telling(reporter, "examples") as line:
        new = examples_of(bundle, addition.name, addition.inputs)
        sample = () if heads.means is not None else training_examples(bundle, addition.data)
        used = {each.digest for each in (*new, *sample)}
        judges, notes = examples_to_check(bundle, addition.data, addition.name, used)
        line.summary = f"{len(new)} of the new class {addition.name!r}"
    with telling(reporter, "head") as line:
        statistics = _statistics_of(work, sample)
        rows = work.features(new)
        shipped = fit_row(statistics, heads.shipped, rows, allowed / 100, addition.seed)
        record = _estimates(statistics, heads.shipped, shipped, rows, allowed / 100)
        lost = 100 * (record["expected_old_before"] - record["expected_old_after"])
        expected = f"the old classes are expected to lose {lost:.1f} pp (not measured)"
        line.summary = f"one row more; {expected}"
    with telling(reporter, "check") as line:
        gate, checked = _check(work, shipped, judges, allowed)
        line.summary = gate.message
    digests = sorted(example.digest for example in new)
    origin = {"name": addition.name, "examples": len(new), "digests": digests}
    record = {**origin, **record, **checked, "status": gate.status}
    if gate.status == "FAIL":
        return AddClassResult(gate.status, gate.message, record, notes, None)
    longer = replace(
        heads,
        labels=(*heads.labels, addition.name),
        shipped=shipped,
        reference=_row_of(heads.reference, shipped),
        added=(*heads.added, record),
    ).with_statistics(None if heads.means is None else statistics.with_class(rows))
    rebuild(bundle, work.networks, longer, out, reporter)
    return AddClassResult(gate.status, gate.message, record, notes, out)


def _row_of(reference: LinearHead, shipped: LinearHead) -> LinearHead:
    """Give the float network the new row of the shipped one: their features are of one kind."""
    return replace(
        reference,
        weight=np.vstack([reference.weight, shipped.weight[-1]]),
        bias=np.append(reference.bias, shipped.bias[-1]),
    )


def _statistics_of(work: _AddClass, sample: Sequence[Example]) -> FeatureStatistics:
    """Return what is known of the old classes, of a sample where the bundle keeps nothing."""
    kept, labels = statistics_of(work.bundle), work.bundle.labels
    if kept is not None:
        return kept
    truth = np.array([labels.index(each.label or "") for each in sample], dtype=np.int64)
    measured = measure_statistics(work.features(sample), truth, len(labels))
    assert measured is not None, "`training_examples` asks for two of one class"
    return measured


def _estimates(
    statistics: FeatureStatistics, old: LinearHead, new: LinearHead, rows: Array, allowed: float
) -> dict[str, Any]:
    """Return what the kept statistics and the new examples themselves let expect."""
    classes = len(old.bias)
    right = held_out(statistics, old, rows, allowed)
    return {
        "expected_old_before": expected_accuracy(statistics, old, classes),
        "expected_old_after": expected_accuracy(statistics, new, classes),
        "leave_one_out": right,
        "leave_one_out_ci95": None if right is None else list(wilson(right, len(rows))),
    }


def _check(
    work: _AddClass, head: LinearHead, judges: Sequence[Example], allowed: float
) -> tuple[Gate, dict[str, Any]]:
    """Run the old network and the new one on examples of the old classes, and of the new."""
    labels, data = work.bundle.labels, work.addition.data
    old = [each for each in judges if each.label in labels]
    new = [each for each in judges if each.label == work.addition.name]
    core = work.networks.core
    longer = with_head(core, head)
    before = work.run(core, old).argmax(axis=1)
    after = work.run(longer, old).argmax(axis=1)
    truth = np.array([labels.index(each.label or "") for each in old])
    outcomes = Outcomes(truth, before, after, len(labels) + 1)
    comparison = compare(outcomes, "top1", seed=work.addition.seed)
    found = int((work.run(longer, new).argmax(axis=1) == len(labels)).sum()) if new else 0
    return accuracy(comparison, allowed), {
        "checked_on": "golden examples" if data is None else data.source,
        "old_examples": len(old),
        "old_accuracy_before": comparison.reference,
        "old_accuracy_after": comparison.candidate,
        "old_decisions_changed": int((before != after).sum()),
        "old_drop_ucb95_pp": comparison.drop_ucb95_pp,
        "allowed_drop_pp": allowed,
        "new_examples": len(new),
        "new_found": found,
        "new_recall_ci95": list(wilson(found, len(new))) if new else None,
    }
