"""The compress stage: the float graph becomes what a target runs fast.

It does not decide whether that was worth it: the verdict does.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.compress.dynamic import quantise_weights
from edgetransfer.compress.half import to_half
from edgetransfer.compress.qdq import quantise
from edgetransfer.data.calibration import calibration_sample
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.run import Run, code, leave, versions
from edgetransfer.spec import catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example
    from edgetransfer.pipeline.tracing import Fitted
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.target import TargetSpec


@dataclass(frozen=True)
class Compressed:
    """The network as a target gets it.

    Attributes:
        graph: ``core.onnx``.
        key: of the stage that made it.
        facts: precision, scheme and calibration, for the manifest.
    """

    graph: Path
    key: str
    facts: dict[str, Any]


def compress(run: Run, fitted: Fitted, target: TargetSpec) -> Compressed:
    """Store the network in the precision that was asked for; ``auto`` takes the target's."""
    asked = run.recipe.quant.precision
    precision = target.precision if asked == "auto" else asked
    recipe = catalogue.calibration_recipe(run.recipe.quant.calibration)
    examples: Sequence[Example] = ()
    facts: dict[str, Any] = {"precision": precision}
    if precision == "w8a8":
        examples = calibration_sample(fitted.manifest, recipe.examples, run.recipe.seed)
        facts |= {
            "scheme": target.int8.model_dump(),
            "calibration": {
                "recipe": recipe.model_dump(),
                "examples": len(examples),
                "digest": _digest(examples),
            },
        }
    inputs = {
        "float": fitted.key,
        **facts,
        "code": code("compress"),
        "versions": versions("onnxruntime"),
    }
    with telling(run.reporter, f"compress {target.name}") as line:

        def make(folder: Path) -> None:
            graph = onnx.load(fitted.graph)
            if precision == "w8a8":
                graph = _to_int8(graph, fitted, target, recipe, examples, line.progress)
            elif precision == "fp16":
                graph = to_half(graph)
            onnx.save(graph, folder / "core.onnx")
            leave(folder, "compress.json", facts)

        kept = run.keep(line, "compress", inputs, make)
        core = kept.file("core.onnx")
        ratio = fitted.graph.stat().st_size / core.stat().st_size
        line.summary = f"{precision}, {core.stat().st_size / 2**20:.2f} MiB ({ratio:.1f} x smaller)"
    return Compressed(core, kept.key, facts)


def _to_int8(
    graph: onnx.ModelProto,
    fitted: Fitted,
    target: TargetSpec,
    recipe: catalogue.CalibrationRecipe,
    examples: Sequence[Example],
    progress: Progress,
) -> onnx.ModelProto:
    if fitted.manifest.modality == "text":
        return quantise_weights(graph, target.int8)
    prepare = fitted.preparer().prepare
    return quantise(graph, target.int8, recipe, prepare, examples, progress=progress)


def _digest(examples: Sequence[Example]) -> str:
    """Return the digest of the calibration set: of its contents, in order."""
    return hashlib.sha256(" ".join(example.digest for example in examples).encode()).hexdigest()
