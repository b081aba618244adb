"""Adds a class to a bundle from a few examples, and checks what that does to the old ones.

It does not touch the backbone, and writes a new bundle beside the old one.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.bundle.opened import open_bundle
from edgetransfer.data.decode import decode
from edgetransfer.data.digests import picture_digest, text_digest
from edgetransfer.data.manifest import Example
from edgetransfer.data.sources import load, load_for_evaluation
from edgetransfer.errors import DataError, SpecError
from edgetransfer.export.heads import find_head, with_features, with_head
from edgetransfer.graph.prepare import preparer
from edgetransfer.measure import gates
from edgetransfer.measure.comparison import compare
from edgetransfer.measure.metrics import Outcomes
from edgetransfer.measure.proportions import wilson
from edgetransfer.pipeline.bench import golden_of
from edgetransfer.pipeline.heads import (
    Networks,
    heads_of,
    rebuild,
    refuse_to_overwrite,
    statistics_of,
)
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.statistics import run_one_by_one
from edgetransfer.spec.progress import silent
from edgetransfer.transfer.new_class import (
    FeatureStatistics,
    expected_accuracy,
    fit_row,
    held_out,
    measure_statistics,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edgetransfer.backbone.head import LinearHead
    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.measure.gates import Status
    from edgetransfer.pipeline.reporter import Reporter
    from edgetransfer.spec.recipe import DataSpec

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Addition:
    """What is to be added.

    Attributes:
        name: of the new class.
        inputs: its examples: picture files, or texts.
        data: labelled examples of the old classes to check with; None for the golden ones.
        max_drop: accuracy points that the old classes may lose; None for the bundle's budget.
    """

    name: str
    inputs: tuple[str, ...]
    data: DataSpec | None = None
    max_drop: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Added:
    """What came of it.

    Attributes:
        status: of the old classes' loss against what is allowed.
        message: that gate, for people.
        record: every number, in plain JSON types; it goes into the manifest as well.
        folder: the new bundle; None where it was refused.
    """

    status: Status
    message: str
    record: dict[str, Any]
    folder: Path | None


@dataclass(frozen=True)
class _Work:
    bundle: Bundle
    networks: Networks
    prepare: Preparer
    addition: Addition
    reporter: Reporter
    examples: tuple[Example, ...] = field(default=())

    def features(self, model: onnx.ModelProto, examples: Sequence[Example]) -> Array:
        return self.run(with_features(model, find_head(model)), examples)

    def run(self, model: onnx.ModelProto, examples: Sequence[Example]) -> Array:
        session = self.bundle.manifest["session"]
        return run_one_by_one(model, session, self.prepare, examples, silent)


def add_class(folder: Path, addition: Addition, out: Path, reporter: Reporter) -> Added:
    """Add a class and write the bundle that has it, unless old classes lose more than allowed.

    Args:
        folder: of the bundle; it stays as it is.
        addition: the class and its examples.
        out: where the new bundle goes; must not exist.
        reporter: told of every stage.

    Raises:
        SpecError: not a bundle, the class is there already, or `out` exists.
        DataError: examples cannot be read, or nothing is known of the old classes.
        UnsupportedError: the network does not end in a linear head.
    """
    bundle = open_bundle(folder)
    _refuse_name(bundle, addition.name)
    refuse_to_overwrite(out)
    prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
    work = _Work(bundle, Networks.of(bundle), prepare, addition, reporter)
    heads = heads_of(bundle, work.networks)
    with telling(reporter, "examples") as line:
        work = replace(work, examples=_examples(bundle, addition))
        line.summary = f"{len(work.examples)} of the new class {addition.name!r}"
    allowed = addition.max_drop or bundle.manifest["recipe"]["budget"]["max_drop_pp"]
    with telling(reporter, "head") as line:
        statistics = statistics_of(bundle) or _statistics_from_data(work)
        rows = work.features(work.networks.core, work.examples)
        shipped = fit_row(statistics, heads.shipped, rows, allowed / 100, addition.seed)
        record = _estimates(statistics, heads.shipped, shipped, rows, allowed / 100)
        line.summary = _told(record)
    with telling(reporter, "check") as line:
        gate, checked = _check(work, shipped, allowed)
        line.summary = gate.message
    record = {**_origin(work), **record, **checked, "status": gate.status}
    if gate.status == "FAIL":
        return Added(gate.status, gate.message, record, None)
    new = replace(
        heads,
        labels=(*heads.labels, addition.name),
        shipped=shipped,
        reference=_row_of(heads.reference, shipped),
        added=(*heads.added, record),
    ).with_statistics(None if heads.means is None else statistics.with_class(rows))
    rebuild(bundle, work.networks, new, out, reporter)
    return Added(gate.status, gate.message, record, out)


def _origin(work: _Work) -> dict[str, Any]:
    return {
        "name": work.addition.name,
        "examples": len(work.examples),
        "digests": sorted(example.digest for example in work.examples),
    }


def _row_of(reference: LinearHead, shipped: LinearHead) -> LinearHead:
    """Give the float network the new row of the shipped one: their features are of one kind."""
    return replace(
        reference,
        weight=np.vstack([reference.weight, shipped.weight[-1]]),
        bias=np.append(reference.bias, shipped.bias[-1]),
    )


def _refuse_name(bundle: Bundle, name: str) -> None:
    if name in bundle.labels:
        raise SpecError("the bundle has this class already", where="NAME", found=repr(name))
    if not name.strip() or len(name.splitlines()) > 1:
        raise SpecError(
            "not a name of a class", where="NAME", found=repr(name), expected="one line of text"
        )


def _examples(bundle: Bundle, addition: Addition) -> tuple[Example, ...]:
    """Read the new examples, each content once.

    Raises:
        DataError: some cannot be read, all are named; or there is none.
    """
    found, problems = {}, []
    for each in addition.inputs:
        try:
            example = _example(bundle, each, addition.name)
        except DataError as error:
            problems.append(str(error))
            continue
        found[example.digest] = example
    if problems:
        raise DataError("\n".join(problems))
    if not found:
        raise DataError("there are no examples of the new class", where=addition.name)
    again = set(bundle.file("fitted_on.txt").read_text(encoding="utf-8").split()) & set(found)
    if again:
        raise DataError(
            "examples of the new class are among those that the bundle was fitted on",
            where=", ".join(found[digest].key for digest in sorted(again)),
            fix="leave them out, or build again with the classes parted as they should be",
        )
    return tuple(found.values())


def _example(bundle: Bundle, given: str, label: str) -> Example:
    if bundle.preprocessing.kind == "text":
        return Example(given, None, given, label, "train", {}, text_digest(given))
    path = Path(given)
    return Example(given, path, None, label, "train", {}, picture_digest(decode(path)))


def _statistics_from_data(work: _Work) -> FeatureStatistics:
    """Take the statistics that a bundle lacks from the training examples that the user gave."""
    data, labels = work.addition.data, work.bundle.labels
    if data is None:
        raise DataError(
            "the bundle keeps nothing of the features of its classes",
            where=str(work.bundle.folder),
            fix="give labelled examples of the old classes: --data DATA",
        )
    manifest = load(data, seed=work.addition.seed)
    examples = [each for each in manifest.split("train") if each.label in labels]
    truth = np.array([labels.index(each.label or "") for each in examples], dtype=np.int64)
    rows = work.features(work.networks.core, examples) if examples else np.empty((0, 1))
    found = measure_statistics(rows, truth, len(labels))
    if found is None or found.counts.min() == 0:
        raise DataError(
            "the data lacks training examples of old classes",
            where=data.source,
            expected=f"some of each, two of one: {', '.join(labels[:10])}",
        )
    return found


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


def _told(record: dict[str, Any]) -> str:
    lost = 100 * (record["expected_old_before"] - record["expected_old_after"])
    return f"one row more; the old classes are expected to lose {lost:.1f} pp (not measured)"


def _check(work: _Work, head: LinearHead, allowed: float) -> tuple[gates.Gate, dict[str, Any]]:
    """Run the old network and the new one on examples of the old classes, and of the new."""
    labels, name = work.bundle.labels, work.addition.name
    examples = golden_of(work.bundle)
    if work.addition.data is not None:
        given = load_for_evaluation(work.addition.data, labels=(*labels, name)).examples
        new = {each.digest for each in work.examples}
        examples = tuple(each for each in given if each.label and each.digest not in new)
    old = [each for each in examples if each.label in labels]
    if not old:
        raise DataError("there is no labelled example of an old class", where="--data")
    core = work.networks.core
    after_network = with_head(core, find_head(core), head)
    before = work.run(core, old).argmax(axis=1)
    after = work.run(after_network, old).argmax(axis=1)
    truth = np.array([labels.index(each.label or "") for each in old])
    comparison = compare(
        Outcomes(truth, before, after, len(labels) + 1), "top1", seed=work.addition.seed
    )
    gate = gates.accuracy(comparison, allowed)
    unseen = [each for each in examples if each.label == name]
    found = (
        int((work.run(after_network, unseen).argmax(axis=1) == len(labels)).sum()) if unseen else 0
    )
    return gate, {
        "checked_on": "golden examples"
        if work.addition.data is None
        else work.addition.data.source,
        "old_examples": len(old),
        "old_accuracy_before": comparison.reference,
        "old_accuracy_after": comparison.candidate,
        "old_decisions_changed": int((before != after).sum()),
        "old_drop_ucb95_pp": comparison.drop_ucb95_pp,
        "allowed_drop_pp": allowed,
        "new_examples": len(unseen),
        "new_found": found,
        "new_recall_ci95": list(wilson(found, len(unseen))) if unseen else None,
    }
