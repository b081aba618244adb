"""The assemble stage: writes the files of a bundle, and seals them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.bundle.opened import Bundle, seal
from edgetransfer.export.onnx_bundle import write_bundle
from edgetransfer.export.tensorrt import refuse_unfit
from edgetransfer.pipeline.ship.networks import networks
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.stage.stage import versions
from edgetransfer.pipeline.task import task_of

if TYPE_CHECKING:
    from edgetransfer.bundle.swap import Draft
    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.graphs import CompressedGraph, FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.target import TargetSpec

GOLDEN = 8


def golden_examples(manifest: Manifest) -> Sequence[Example]:
    """Choose the examples that travel with the bundle, spread evenly; never of the test set.

    Where somebody's own model is measured on test data only, there are no others.
    """
    pool = manifest.split("validation") or manifest.split("train") or manifest.examples
    chosen = np.linspace(0, len(pool) - 1, num=min(GOLDEN, len(pool)))
    return [pool[int(index)] for index in chosen]


def assemble(
    run: Run, fitted: FittedGraph, compressed: CompressedGraph, target: TargetSpec, place: Draft
) -> Bundle:
    """Write all files of a bundle but its report into an empty folder, and seal it."""
    folder = place.folder
    with telling(run.reporter, f"export {target.name}") as line:
        core, manifest = onnx.load(compressed.graph), fitted.manifest
        known = *manifest.split("train"), *manifest.split("validation"), *fitted.unlabelled
        if target.runtime is not None and target.runtime.builds_engines:
            refuse_unfit(core)
        task = task_of(run.recipe)
        more = task.ship(run, fitted, compressed, target, line.progress)
        parts = replace(
            networks(run, fitted, core, target),
            tokenizer=fitted.tokenizer,
            golden=golden_examples(manifest),
            config=more.config,
            fitted_on=[each.digest for each in known],
            more=more.files,
            formats=compressed.formats,
        )
        stored = write_bundle(folder, parts, fitted.preparer())
        facts = {**_facts(run, fitted, compressed, target), **more.facts, **stored}
        bundle = seal(folder, facts, place.beside)
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        line.summary = f"{len(files)} files, {size / 2**20:.1f} MiB"
    return bundle


def _facts(
    run: Run, fitted: FittedGraph, compressed: CompressedGraph, target: TargetSpec
) -> dict[str, Any]:
    """Collect what the manifest says: what went in, what was decided, with which versions."""
    manifest = fitted.manifest
    splits = {
        name: {"digest": digest, "examples": len(manifest.split(name))}
        for name, digest in manifest.split_digests().items()
    }
    return {
        "task": f"{manifest.modality} {run.recipe.task}",
        "target": target.model_dump(mode="json"),
        "recipe": run.recipe.model_dump(mode="json"),
        "data": {
            "digest": manifest.digest,
            "splits": splits,
            "dropped": dict(manifest.dropped),
            "notes": list(manifest.notes),
        },
        **fitted.facts,
        "compression": compressed.facts,
        "session": run.session_of(target),
        "seed": run.recipe.seed,
        "versions": versions(),
    }
