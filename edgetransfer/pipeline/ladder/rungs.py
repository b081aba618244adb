"""The rungs of the compression ladder as stages: each makes one candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir

from edgetransfer.compress import training
from edgetransfer.compress.layout import find_layout
from edgetransfer.compress.posttraining import (
    MOST_FITTED,
    CalibrationBatches,
    QuantisedGraph,
    fit_again,
    quantise,
)
from edgetransfer.compress.qdq import read_encoding
from edgetransfer.compress.training import QuantisedTraining, rank_layers
from edgetransfer.compress.weights import Array, quantise_weights, smoothed, to_half
from edgetransfer.data.manifest import Example, content_of
from edgetransfer.data.split import calibration_sample
from edgetransfer.errors import SpecError
from edgetransfer.export.litert import write_litert
from edgetransfer.graph.finished import finished
from edgetransfer.graph.hosted import exact_here
from edgetransfer.graph.prepare import stack
from edgetransfer.pipeline.ladder.batches import batches_through, shuffled
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.stage.stage import Stage, StageResult
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.pipeline.task import task_of
from edgetransfer.spec import catalogue

if TYPE_CHECKING:
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.target import TargetSpec

CORE = "core.onnx"
CODES = "codes.onnx"
"""The candidate with 32-bit floats around its integers, where it ships 16-bit ones."""
EQUALISED = "float.onnx"
LITE = "model.tflite"
RANGE_EXAMPLES = 16
"""Examples whose largest numbers decide what 16-bit floats can hold."""
RANKED_EXAMPLES = 16
"""Examples that the layers' noise is measured on."""


@dataclass(frozen=True)
class Rung:
    """One way of storing the network, not made yet.

    The inputs are what it depends on beside the float graph; `make` writes the `file` and what
    later rungs need into a folder, and returns what is to be told.
    """

    name: str
    precision: str
    inputs: dict[str, Any]
    make: Callable[[Path, Progress], dict[str, Any]]
    file: str = CORE


@dataclass(frozen=True)
class RungResult:
    """A rung that was made."""

    rung: Rung
    kept: StageResult

    @property
    def graph(self) -> Path:
        """The candidate."""
        return self.kept.file(self.rung.file)


@dataclass(frozen=True)
class Workshop:
    """What all rungs of one target are made from."""

    run: Run
    fitted: FittedGraph
    target: TargetSpec
    recipe: catalogue.CalibrationRecipe
    prepare: Preparer
    examples: Sequence[Example]
    few: Sequence[Example]

    @staticmethod
    def of(run: Run, fitted: FittedGraph, target: TargetSpec) -> Workshop:
        """Draw the calibration examples, and the few of them that weights are fitted on."""
        recipe = catalogue.calibration_recipe(run.recipe.quant.calibration)
        rules, seed = task_of(run.recipe).labels, run.recipe.seed
        examples = calibration_sample(fitted.manifest, recipe.examples, seed, rules)
        few = calibration_sample(fitted.manifest, MOST_FITTED, seed, rules)
        few = few if len(examples) > MOST_FITTED else examples
        return Workshop(run, fitted, target, recipe, fitted.preparer(), examples, few)

    @property
    def shift_invariant(self) -> bool:
        """Whether a number that is added to all outputs of an example changes nothing."""
        return task_of(self.run.recipe).shift_invariant

    def make(self, rung: Rung) -> RungResult:
        """Make a rung, or take what an earlier run made."""
        inputs = {"float": self.fitted.key, "rung": rung.name, "seed": self.run.recipe.seed}
        inputs["few"] = content_of(self.few)
        with telling(self.run.reporter, f"compress {self.target.name}") as line:
            kept = self.run.keep_in(line, Stage("rung", inputs | rung.inputs, rung.make))
            size = kept.file(rung.file).stat().st_size
            ratio = self.fitted.graph.stat().st_size / size
            line.summary = f"{rung.name}: {size / 2**20:.2f} MiB ({ratio:.1f} x smaller)"
        return RungResult(rung, kept)

    def facts(self) -> dict[str, Any]:
        """Return what the manifest says of scheme and calibration."""
        return {
            "scheme": self.target.int8.model_dump(),
            "calibration": {
                "recipe": self.recipe.model_dump(),
                "examples": len(self.examples),
                "digest": content_of(self.examples),
            },
        }

    def floats(self) -> Rung:
        """Ship the float graph as it is."""

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            onnx.save(onnx.load(self.fitted.graph), folder / CORE)
            return {}

        return Rung("32-bit floats", "fp32", {}, make)

    def halves(self) -> Rung:
        """Store 16-bit floats."""

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            graph, wide = to_half(onnx.load(self.fitted.graph), self._few())
            onnx.save(graph, folder / CORE)
            return {"float_nodes": list(wide)} if wide else {}

        return Rung("16-bit floats", "fp16", {"examples": content_of(self.examples)}, make)

    def dynamic(self, *, smooth: bool) -> Rung:
        """Store a text encoder's weights in 8 bits; `smooth` moves there what is hard to quantise.

        SpecError where the target's runtime finds no ranges while it runs.
        """
        if not self.target.int8.own_operators:
            raise SpecError(
                "the target's runtime has no 8-bit texts: it finds no ranges while it runs",
                where=f"target {self.target.name}",
                fix="build with --precision fp16",
            )
        stored = partial(quantise_weights, scheme=self.target.int8)
        free = self.shift_invariant

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            graph = onnx.load(self.fitted.graph)
            if not smooth:
                onnx.save(stored(graph), folder / CORE)
                return {}
            texts = [self.prepare.prepare(each) for each in self.examples]
            made, share = smoothed(graph, texts, stored, shift_invariant=free)
            onnx.save(made, folder / CORE)
            return {"smoothing": share}

        name = "8-bit weights, activations smoothed" if smooth else "8-bit weights"
        inputs = {**self.facts(), "run_here_with": exact_here(), "shift_invariant": free}
        return Rung(f"{name}, scales as they come", "w8a8", inputs, make)

    def post_training(self, *, equalised: bool) -> Rung:
        """Quantise after training, with channels equalised or as they are."""

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                quantised = quantise(
                    onnx.load(self.fitted.graph),
                    self.target.int8,
                    self.recipe,
                    self.calibration(room),
                    equalised=equalised,
                    progress=progress,
                )
            return self.leave(folder, quantised)

        name = "post-training, channels equalised" if equalised else "post-training"
        return Rung(name, "w8a8", self.facts(), make)

    def unsigned(self, made: RungResult) -> Rung:
        """Write the integers of a rung with unsigned weights: the same numbers, other kernels."""

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            quantised = self.open(made)
            scheme = quantised.encoding.scheme.model_copy(update={"weight": "u8"})
            moved = replace(quantised.encoding, scheme=scheme)
            return self.leave(folder, replace(quantised, encoding=moved)) | {"weight": "u8"}

        return Rung("the same, weights unsigned", "w8a8", {"from": made.kept.key}, make)

    def trained(self, start: RungResult, name: str, course: QuantisedTraining) -> Rung:
        """Train the integers of a rung towards the float network, without labels."""
        course = replace(course, shift_invariant=self.shift_invariant)
        examples = (*self.fitted.manifest.split("train"), *self.fitted.unlabelled)

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            quantised = self.open(start)
            encoding, losses = training.train(
                quantised.model.graph,
                quantised.layout,
                quantised.encoding,
                shuffled(self.prepare, examples, self.run.recipe.seed),
                course,
                progress=progress,
            )
            record = self.leave(folder, replace(quantised, encoding=encoding))
            tenth = max(1, len(losses) // 10)
            return record | {
                "steps": len(losses),
                "noise_before": float(np.mean(losses[:tenth])),
                "noise_after": float(np.mean(losses[-tenth:])),
            }

        inputs = {"from": start.kept.key, "course": course.settings()}
        return Rung(name, "w8a8", inputs | {"trained_on": content_of(examples)}, make)

    def with_floats(self, start: RungResult, names: list[str]) -> Rung:
        """Leave some layers of a rung in float."""

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            quantised = self.open(start).keeping_float(set(names))
            with scratch(folder) as room:
                quantised = fit_again(quantised, self.calibration(room), progress)
            return self.leave(folder, quantised)

        plural = "layer" if len(names) == 1 else "layers"
        inputs = {"from": start.kept.key, "floats": names}
        return Rung(f"{len(names)} more {plural} in float", "w8a8", inputs, make)

    def ranked(self, made: RungResult) -> list[str]:
        """Return the layers of a rung, the noisiest first."""

        def make(_: Path, progress: Progress) -> dict[str, Any]:
            batches = batches_through(self.prepare, self.examples[:RANKED_EXAMPLES])()
            free = self.shift_invariant
            ranked = rank_layers(self.open(made), batches, progress, shift_invariant=free)
            return {"layers": ranked}

        told = "most of the noise from {layers[0][0]}".format_map
        stage = Stage("sensitivity", {"rung": made.kept.key}, make, told)
        kept = self.run.keep(stage, f"sensitivity {self.target.name}")
        return [name for name, _ in kept.record["layers"]]

    def litert(self) -> Rung:
        """Convert the floats for LiteRT, and quantise them there with the calibration examples."""

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            with scratch(folder) as room:
                (rows,) = stack(self.prepare.prepare, self.few, room, progress=progress).values()
                write_litert(self.fitted.graph, Path(rows), folder / LITE)
            return {}

        return Rung("LiteRT, 8 bits, head in float", "w8a8", {}, make, LITE)

    def calibration(self, room: Path) -> CalibrationBatches:
        """Return the calibration examples as batches; `room` is for what does not fit in memory."""
        fitted = {each.key for each in self.few}
        rest = [each for each in self.examples if each.key not in fitted]
        first, others = (batches_through(self.prepare, each) for each in (self.few, rest))
        return CalibrationBatches(first, len(self.few), room, others)

    def open(self, made: RungResult) -> QuantisedGraph:
        """Read the integers of a rung back, to go on from them."""
        model = ir.load(made.kept.file(EQUALISED))
        layout = find_layout(model.graph, set(made.kept.record.get("float_layers", ())))
        written = made.kept.file(CODES)
        graph = onnx.load(written if written.is_file() else made.graph)
        encoding = read_encoding(graph, model.graph, layout, self.target.int8)
        return QuantisedGraph(model, layout, encoding)

    def leave(self, folder: Path, quantised: QuantisedGraph) -> dict[str, Any]:
        """Leave the candidate and what later rungs go on from; name the layers in float."""
        graph = quantised.graph()
        record: dict[str, Any] = {}
        if self.target.int8.floats == "fp16":
            onnx.save(graph, folder / CODES)
            graph, wide = to_half(graph, self._few())
            record |= {"float_nodes": list(wide)} if wide else {}
        onnx.save(graph, folder / CORE)
        onnx.save(finished(ir.to_proto(quantised.model), "quantise"), folder / EQUALISED)
        return record | ({"float_layers": quantised.float_layers} if quantised.float_layers else {})

    def _few(self) -> Iterator[Mapping[str, Array]]:
        """Prepare the examples whose largest numbers decide what 16-bit floats can hold."""
        return (self.prepare.prepare(each) for each in self.examples[:RANGE_EXAMPLES])
