"""Proofs of a measurement: runs a few examples again, otherwise; reads them back as values."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.agent.outputs import Outputs
from edgetransfer.graph.census import intended
from edgetransfer.graph.embed import PREPARED, ports, preparation
from edgetransfer.graph.finished import opset_of
from edgetransfer.graph.hosted import with_float_products
from edgetransfer.measure.agreement import Cure, OnHost
from edgetransfer.measure.drift import farthest
from edgetransfer.measure.measurement import Timing
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.proofs import (
    NO_ENGINE,
    Contract,
    Export,
    Integrity,
    IntendedPrecision,
    Port,
    Proofs,
    Rebuilds,
    Repeats,
    TensorParity,
    Twice,
    tensor_parity,
)
from edgetransfer.pipeline.bench.times import samples_of
from edgetransfer.pipeline.task import task_of
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.measure.drift import Decision
    from edgetransfer.pipeline.stage.stage import StageResult
    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
    from edgetransfer.spec.target import TargetSpec
    from edgetransfer.transport.job import Variant
    from edgetransfer.transport.place import Place


Record = dict[str, Any]
NOT_TOLD = Missing("the agent there does not tell what it opened")
_FILES = {"reference": "reference.onnx", "candidate": "core.onnx"}
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def proofs(kept: StageResult, bundle: Bundle, target: TargetSpec) -> Proofs:
    """Return all proofs of a measurement; what it lacks says why."""
    record, task = kept.record, task_of(bundle.recipe)
    export = _export(bundle.manifest.get("export"))
    if "proofs" not in record:
        nothing = Proofs(*[Missing("the runtime there takes prepared tensors alone")] * 7)
        return replace(nothing, export=export, rebuilds=_rebuilds(record, kept, task))
    found, whole = record["proofs"], record["proofs"]["whole"]
    told = {file: record["runs"][name].get("model") for name, file in _FILES.items()}
    told["model.onnx"] = whole["model"]
    told = {file: model for file, model in told.items() if model is not None}
    candidate = outputs_of(kept, "candidate")
    few = candidate.rows(spread(candidate.examples, FEW))
    return Proofs(
        contract=_contract(record, bundle, target, told) if told else NOT_TOLD,
        integrity=Integrity(
            {file: (bundle.digest(file), model["sha256"]) for file, model in told.items()},
            whole["max_abs"],
            whole["range"],
            whole["examples"],
            _moved(record, kept),
        ),
        preprocessing=TensorParity(**found["preprocessing"])
        if "preprocessing" in found
        else Missing("texts come as token ids, the device prepares nothing"),
        export=export,
        fusion=_again(found, kept, UNFUSED, few, task),
        repeats=_repeats(record, kept, few, task),
        intended=Missing("the runtime there cannot write its graph back")
        if record.get("residency") is None
        else IntendedPrecision(**found["intended"]),
    )


def _contract(
    record: Record, bundle: Bundle, target: TargetSpec, told: Mapping[str, Record]
) -> Contract:
    promised = {file: _promised(bundle, file) for file in told}
    environment = {**record["environment"], **record["runs"]["candidate"].get("session", {})}
    runtime = str(environment["runtime"])
    ours = runtime.startswith("onnxruntime")  # whose releases were tried, and which was imported
    probe = (ours and environment.get("import")) or {}
    return Contract(
        promised,
        {file: _ports(model) for file, model in told.items()},
        record["proofs"]["opset"],
        record["proofs"]["ir_version"],
        runtime,
        target.runtime.min_version if target.runtime and ours else None,
        probe.get("loads"),
        probe.get("why", ""),
    )


def _promised(bundle: Bundle, file: str) -> Sequence[Port]:
    """Inputs and outputs of a file, by the contract and the labels."""
    one = bundle.target.static_shapes and file != "reference.onnx"
    batch: int | str = 1 if one else "batch"
    task = task_of(bundle.recipe)
    given = task.outputs(bundle.labels).items()
    taken = ports(bundle.preprocessing, batch, whole=file == "model.onnx")
    outputs = [Port(name, "float32", (batch, *shape)) for name, shape in given]
    return (*[Port(*each) for each in taken], *outputs)


def _ports(model: Record) -> Sequence[Port]:
    """What the runtime there told; where it does not tell a size, it says so by a word."""
    return [
        Port(
            each["name"],
            _TYPES.get(each["type"], each["type"].removeprefix("tensor(").removesuffix(")")),
            tuple("any" if size is None else size for size in each["shape"]),
        )
        for each in (*model["inputs"], *model["outputs"])
    ]


def _moved(record: Record, kept: StageResult) -> float:
    """Return by how much quantising moved the output that `_whole` tells of; 0 for ONNX Runtime.

    That keeps the rounding of a picture and that of the network's input apart. OpenVINO makes one
    of both, so that model.onnx there is as far from core.onnx as two sound runtimes are.
    """
    said = record["runs"]["candidate"].get("session", {})
    if str(said.get("runtime", "onnxruntime")).startswith("onnxruntime"):
        return 0.0
    output = record["proofs"]["whole"]["output"]
    reference, candidate = (outputs_of(kept, name)[output] for name in _FILES)
    return float(np.abs(reference - candidate).max())


def _export(record: Record | None) -> Export | Missing:
    if record is None:
        return Missing("the manifest does not tell how the export was proven")
    return Export(
        record["max_abs"], record["range"], record["min_cosine"], record["n"], record.get("flips")
    )


def _repeats(record: Record, kept: StageResult, few: Outputs, decision: Decision) -> Repeats:
    found, runs = record["proofs"], record["runs"]
    names = {THREADS: " and ".join(map(str, found["threads"])) + " threads"}
    names[BATCHED] = f"batches of 1 and {BATCH}"
    varied = {name: _again(found, kept, key, few, decision) for key, name in names.items()}
    return Repeats(
        {name: run["deterministic"] for name, run in runs.items()},
        min(int(run.get("repeated", 1)) for run in runs.values()),
        varied,
        dynamic=found["dynamic"],
    )


def _again(
    found: Record, kept: StageResult, key: str, few: Outputs, decision: Decision
) -> Twice | Missing:
    """Return what a run in another way gave beside what the usual one did."""
    if key in found["not_varied"]:
        return Missing(found["not_varied"][key])
    other = outputs_of(kept, key)
    first, second = (other, few) if key == UNFUSED else (few, other)
    return Twice.of(first, second, decision)


def on_host(kept: StageResult, record: Mapping[str, Any] | None) -> OnHost | None:
    """Read what `agree` left; None where the device is this machine."""
    if record is None:
        return None
    cure = Cure(outputs_of(kept, "cured"), **record["cure"]) if "cure" in record else None
    return OnHost(outputs_of(kept, "host"), record["config"], cure, record["emulated"])


def kept_as(name: str) -> str:
    """Return the file of a measurement that holds the outputs of a run."""
    return f"{name}.outputs.npz"


def outputs_of(kept: StageResult, name: str) -> Outputs:
    """Return the raw outputs of a run."""
    return Outputs.load(kept.file(kept_as(name)))


def timing(kept: StageResult, names: tuple[str, str]) -> Timing | None:
    """Return the raw times of two variants, None where none were taken."""
    if not kept.file(f"{names[0]}.times.npy").is_file():
        return None
    reference, candidate = (np.load(kept.file(f"{name}.times.npy")) for name in names)
    return Timing(samples_of(reference), samples_of(candidate))


FEW = 32
"""Examples that are run again with other threads, in batches, and without fusion."""
BATCH = 8
RAW_EXAMPLES = 12
"""Examples that model.onnx runs from decoded pictures."""
THREADS, BATCHED, UNFUSED = "threads", "batch", "unfused"
BUILDS = 3
"""Engines of one file that have to decide alike: a builder times its kernels, and may take others
the next time."""


@dataclass(frozen=True)
class Prover:
    """Runs what is to be proven of one candidate: core.onnx on all examples, model.onnx on a few.

    Files that are not kept go to `scratch`; in `out`, the measurement's, the outputs of the
    candidate lie already.
    """

    place: Place
    candidate: Variant
    whole: Variant
    spec: ImagePreprocessing | TextPreprocessing
    scratch: Path
    out: Path

    def prove(self) -> tuple[dict[str, Any], Outputs]:
        """Run everything and return the record, and what the artefact gives.

        Outputs of other runs are left in `out`.
        """
        model = onnx.load(self.candidate.model)
        whole = onnx.load(self.whole.model)
        record: dict[str, Any] = {
            "intended": asdict(intended(model)),
            "opset": max(opset_of(each) for each in (model, whole)),
            "ir_version": max(each.ir_version for each in (model, whole)),
            "dynamic": any(n.op_type == "DynamicQuantizeLinear" for n in model.graph.node),
        }
        with self.place.side_by_side() as pool:
            preparing = pool.submit(self._prepared, model)
            running = pool.submit(self._run, self.whole)
            runs, varied = self._variations(model)
            others = {name: pool.submit(self._run, each) for name, each in runs.items()}
            (given, told), prepared = running.result(), preparing.result()
            holding = pool.submit(self._whole, given, None if prepared is None else prepared[1])
            for name, run in others.items():
                run.result()[0].save(self.out / kept_as(name))
            held = holding.result()
        record |= {"preprocessing": prepared[0]} if prepared else {}
        return {**record, "whole": {**held, "model": told.get("model")}, **varied}, given

    def _run(self, variant: Variant) -> tuple[Outputs, Mapping[str, Any]]:
        return outputs_in(self.place, variant, self.scratch)

    def _prepared(self, model: onnx.ModelProto) -> tuple[dict[str, Any], str | None] | None:
        """Prepare pictures there: how far they are from those here, and their file if at all."""
        graph = preparation(self.spec, model)
        if graph is None:
            return None
        path = self.scratch / "preprocessing.onnx"
        onnx.save(graph, path)
        variant = replace(self.whole, name="preprocessing", model=str(path))
        there = self._run(variant)[0][PREPARED]
        (file,) = self.candidate.inputs.values()  # the stack: a model of pictures has one input
        here = np.load(str(file), mmap_mode="r")
        here = here[spread(len(here), RAW_EXAMPLES)]
        told = asdict(tensor_parity(here, there, np.array(self.spec.level)))
        if there.tobytes() == np.ascontiguousarray(here).tobytes():
            return told, None
        np.save(self.scratch / "prepared.npy", there)
        return told, str(self.scratch / "prepared.npy")

    def _whole(self, whole: Outputs, prepared: str | None) -> dict[str, Any]:
        """Hold what the artefact gives against the core, on the tensors that it prepared there."""
        if prepared is None:
            core = Outputs.load(self.out / kept_as("candidate"))
            core = core.rows(spread(core.examples, RAW_EXAMPLES))
        else:
            variant = replace(self.candidate, inputs={PREPARED: prepared})
            core, _ = self._run(variant)
        output, moved, span = farthest(core, whole)
        return {"examples": core.examples, "output": output, "max_abs": moved, "range": span}

    def _variations(self, model: onnx.ModelProto) -> tuple[dict[str, Variant], dict[str, Any]]:
        """Return what runs a few examples with other threads, in batches and unfused, and a record.

        That has what is not varied, and why: a browser takes no such settings.
        """
        few = self._few()
        threads = 2 if self.candidate.threads == 1 else 1
        runs = {THREADS: replace(few, threads=threads), UNFUSED: self._unfused(model, few)}
        missing = {}
        if "optimise" not in self.place.actions:
            missing = dict.fromkeys((*runs, BATCHED), "the agent there takes no such settings")
            runs = {}
        elif not self.spec.one_shape:
            missing[BATCHED] = f"{self.spec.noun}s differ in length"
        elif model.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
            missing[BATCHED] = "the model takes one batch only"
        else:
            runs[BATCHED] = replace(few, batch=BATCH)
        if UNFUSED in runs and self.candidate.runtime != "onnxruntime":
            missing[UNFUSED] = f"{self.candidate.runtime} executes no graph as it is written"
            del runs[UNFUSED]
        counts = sorted({self.candidate.threads, threads})
        return runs, {"threads": counts, "few": FEW, "not_varied": missing}

    def _unfused(self, model: onnx.ModelProto, few: Variant) -> Variant:
        """Return the candidate as it is written, its integer products in float."""
        written = with_float_products(model)
        if written is None:
            return replace(few, fused=False)
        path = self.scratch / "float_products.onnx"
        onnx.save(written, path)
        return replace(few, model=str(path), fused=False)

    def _few(self) -> Variant:
        """Return the candidate on a few of its examples."""
        inputs: dict[str, str | list[str]] = {}
        for name, files in self.candidate.inputs.items():
            if isinstance(files, str):
                stacked = np.load(files, mmap_mode="r")
                np.save(self.scratch / f"few-{name}.npy", stacked[spread(len(stacked), FEW)])
                inputs[name] = str(self.scratch / f"few-{name}.npy")
            else:
                inputs[name] = [files[i] for i in spread(len(files), FEW)]
        return replace(self.candidate, inputs=inputs)


def outputs_in(
    place: Place, variant: Variant, scratch: Path, progress: Progress = silent
) -> tuple[Outputs, Mapping[str, Any]]:
    """Run a variant over its examples, with a folder below `scratch` for this run alone."""
    with tempfile.TemporaryDirectory(dir=scratch) as room:
        return place.outputs(variant, Path(room), progress=progress)


def rebuilt(place: Place, candidate: Variant, scratch: Path, out: Path) -> dict[str, Any]:
    """Build the candidate's engine anew, and keep what each build says of the same examples."""
    for number in range(1, BUILDS):
        anew = replace(candidate, config={**candidate.config, "tensorrt.rebuild": str(number)})
        given, _ = place.outputs(anew, scratch)
        given.save(out / kept_as(f"rebuilt-{number}"))
    return {"builds": BUILDS}


def _rebuilds(record: Record, kept: StageResult, decision: Decision) -> Rebuilds | Missing:
    """Count the examples that the builds of one engine decide differently."""
    if "rebuilds" not in record:
        return NO_ENGINE
    builds, first = record["rebuilds"]["builds"], outputs_of(kept, "candidate")
    moved = np.zeros(first.examples, dtype=bool)
    for number in range(1, builds):
        moved |= decision.changed(first, outputs_of(kept, f"rebuilt-{number}"))
    return Rebuilds(builds, first.examples, int(np.count_nonzero(moved)))


def spread(count: int, few: int) -> Sequence[int]:
    """Return the indices of a few examples, spread evenly over all.

    >>> spread(5, 3)
    [0, 2, 4]
    """
    return [int(index) for index in np.linspace(0, count - 1, num=min(few, count))]
