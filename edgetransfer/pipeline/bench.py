"""Measures a bundle again, on data the user names or on its golden pictures alone.

It does not build.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import read_json, writing
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.data.sources import load_for_evaluation
from edgetransfer.errors import DataError
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.judging import (
    Bench,
    Question,
    judge_bundle,
    matches_this_machine,
    write_report,
)
from edgetransfer.pipeline.reporter import telling
from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.target import TargetSpec

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.pipeline.reporter import Reporter
    from edgetransfer.pipeline.store import Store
    from edgetransfer.spec.recipe import DataSpec


@dataclass(frozen=True)
class Benched:
    """What a measurement ends on."""

    report: dict[str, Any]
    folder: Path


def bench(
    folder: Path, data: DataSpec | None, out: Path, store: Store, reporter: Reporter
) -> Benched:
    """Measure a bundle on this machine and write ``report.json`` and ``report.html`` to `out`.

    With labelled data the verdict is the same kind as a build's; with unlabelled data, or none,
    everything but accuracy is judged. The budget is the one the bundle was built with.

    Raises:
        IntegrityError: not a bundle, or a changed one.
        DataError: the data cannot be read, or is of the other kind.
    """
    bundle = open_bundle(folder)
    with telling(reporter, "data") as line:
        if data is None:
            manifest = _golden(bundle)
        else:
            manifest = load_for_evaluation(data, labels=bundle.labels, progress=line.progress)
        line.summary = f"{len(manifest.examples)} examples"
    kind = bundle.preprocessing.kind
    if manifest.modality != kind:
        raise DataError(
            f"the bundle classifies {kind} and the examples are {manifest.modality}",
            where=data.source if data else str(folder),
        )
    recipe = Recipe.model_validate(bundle.manifest["recipe"])
    question = Question(
        manifest,
        manifest.examples,
        recipe.metric,
        recipe.budget,
        data.group_by if data else (),
        recipe.seed,
        recipe.timing,
    )
    report = judge_bundle(
        Bench(store, reporter),
        bundle,
        question,
        preparer(bundle.preprocessing, bundle.file("tokenizer.json")),
        here=matches_this_machine(TargetSpec.model_validate(bundle.manifest["target"])),
    )
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        write_report(out, report, bundle)
    return Benched(report, out)


def _golden(bundle: Bundle) -> Manifest:
    """Take the golden examples as unlabelled data: the model may have been chosen on them."""
    folder = bundle.file("golden")
    examples = []
    for number, case in enumerate(read_json(folder / "index.json")["cases"]):
        path = folder / case["png"] if "png" in case else None
        digest = bundle.manifest["files"][f"golden/{case['png']}"] if path else case["text"]
        examples.append(Example(f"golden {number}", path, case["text"], None, "test", {}, digest))
    kind = bundle.preprocessing.kind
    return Manifest(kind, tuple(examples), bundle.labels, str(folder))
