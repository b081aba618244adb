"""Reads what a measurement left back as the values that gates look at.

It does not run or judge anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.graph.embed import PICTURE, PREPARED
from edgetransfer.measure.agreement import Cure, OnHost
from edgetransfer.measure.facts import Timing
from edgetransfer.measure.plain import Missing
from edgetransfer.measure.proofs import (
    NO_ENGINE,
    Contract,
    Export,
    Integrity,
    Intended,
    Port,
    Proofs,
    Rebuilds,
    Repeats,
    TensorParity,
    Twice,
)
from edgetransfer.pipeline.proving import BATCH, BATCHED, FEW, THREADS, UNFUSED, spread
from edgetransfer.pipeline.sampling import samples_of
from edgetransfer.pipeline.tracing import OUTPUT
from edgetransfer.spec.preprocess import ImagePreprocessing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.pipeline.stage import Kept
    from edgetransfer.spec.target import TargetSpec

Record = dict[str, Any]

NOT_TOLD = Missing("the agent there does not tell what it opened")
_FILES = {"reference": "reference.onnx", "candidate": "core.onnx"}
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64"}


def proofs(kept: Kept, bundle: Bundle, target: TargetSpec) -> Proofs:
    """Return all proofs of a measurement; what it lacks says why."""
    record = kept.record
    if "proofs" not in record:
        reason = Missing("the runtime there takes prepared tensors alone")
        return Proofs(
            contract=reason,
            integrity=reason,
            preprocessing=reason,
            export=_export(bundle.manifest.get("export")),
            fusion=reason,
            repeats=reason,
            intended=reason,
            rebuilds=Rebuilds(**record["rebuilds"]) if "rebuilds" in record else NO_ENGINE,
        )
    found = record["proofs"]
    told = {
        file: model
        for file, model in (
            *((file, record["runs"][name].get("model")) for name, file in _FILES.items()),
            ("model.onnx", found["whole"]["model"]),
        )
        if model is not None
    }
    logits = np.load(kept.file("candidate.logits.npy"))
    few = logits[spread(len(logits), FEW)]
    return Proofs(
        contract=_contract(record, bundle, target, told) if told else NOT_TOLD,
        integrity=_integrity(found["whole"], bundle, told),
        preprocessing=_preprocessing(found),
        export=_export(bundle.manifest.get("export")),
        fusion=_again(found, kept, UNFUSED, few),
        repeats=_repeats(record, kept, few),
        intended=_intended(record),
    )


def _contract(
    record: Record, bundle: Bundle, target: TargetSpec, told: Mapping[str, Record]
) -> Contract:
    promised = {file: _promised(bundle, file) for file in told}
    probe = record["environment"].get("import") or {}
    return Contract(
        promised,
        {file: _ports(model) for file, model in told.items()},
        record["proofs"]["opset"],
        record["proofs"]["ir_version"],
        str(record["environment"]["runtime"]),
        None if target.runtime is None else target.runtime.min_version,
        probe.get("loads"),
        probe.get("why", ""),
    )


def _promised(bundle: Bundle, file: str) -> Sequence[Port]:
    """Inputs and outputs of a file, by the contract and the labels."""
    spec = bundle.preprocessing
    one = bundle.target.static_shapes and file != "reference.onnx"
    batch: int | str = 1 if one else "batch"
    logits = Port(OUTPUT, "float32", (batch, len(bundle.labels)))
    if not isinstance(spec, ImagePreprocessing):
        ids = [Port(name, "int64", (batch, "length")) for name in spec.inputs]
        return (*ids, logits)
    if file == "model.onnx":
        return Port(PICTURE, "uint8", (batch, "height", "width", 3)), logits
    return Port(PREPARED, "float32", (batch, 3, *spec.output_size)), logits


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


def _integrity(whole: Record, bundle: Bundle, told: Mapping[str, Record]) -> Integrity:
    files = bundle.manifest["files"]
    digests = {file: (files[file], model["sha256"]) for file, model in told.items()}
    return Integrity(digests, whole["max_abs"], whole["range"], whole["examples"])


def _preprocessing(found: Record) -> TensorParity | Missing:
    if "preprocessing" not in found:
        return Missing("texts come as token ids, the device prepares nothing")
    return TensorParity(**found["preprocessing"])


def _export(record: Record | None) -> Export | Missing:
    if record is None:
        return Missing("the manifest does not tell how the export was proven")
    return Export(
        record["max_abs"],
        record["range"],
        record["min_cosine"],
        record["n"],
        record.get("flips"),
    )


def _repeats(record: Record, kept: Kept, few: np.ndarray[Any, Any]) -> Repeats:
    found, runs = record["proofs"], record["runs"]
    names = {THREADS: " and ".join(map(str, found["threads"])) + " threads"}
    names[BATCHED] = f"batches of 1 and {BATCH}"
    varied = {name: _again(found, kept, key, few) for key, name in names.items()}
    return Repeats(
        {name: run["deterministic"] for name, run in runs.items()},
        min(int(run.get("repeated", 1)) for run in runs.values()),
        varied,
        dynamic=found["dynamic"],
    )


def _again(found: Record, kept: Kept, key: str, few: np.ndarray[Any, Any]) -> Twice | Missing:
    """Return what a run in another way gave beside what the usual one did."""
    if key in found["not_varied"]:
        return Missing(found["not_varied"][key])
    other = np.load(kept.file(f"{key}.logits.npy"))
    return Twice(other, few) if key == UNFUSED else Twice(few, other)


def _intended(record: Record) -> Intended | Missing:
    if record.get("residency") is None:
        return Missing("the runtime there cannot write its graph back")
    found = record["proofs"]["intended"]
    return Intended(found["int8_conv"], tuple(found["float_conv"]))


def on_host(kept: Kept, record: Mapping[str, Any] | None) -> OnHost | None:
    """Read what `agree` left; None where the device is this machine."""
    if record is None:
        return None
    cure = None
    if "cure" in record:
        found = record["cure"]
        logits = np.load(kept.file("cured.logits.npy"))
        cure = Cure(logits, found["config"], found["why"], tuple(found["targets"]))
    return OnHost(np.load(kept.file("host.logits.npy")), record["config"], cure, record["emulated"])


def timing(kept: Kept, names: tuple[str, str]) -> Timing | None:
    """Return the raw times of two variants, None where none were taken."""
    if not kept.file(f"{names[0]}.times.npy").is_file():
        return None
    reference, candidate = (np.load(kept.file(f"{name}.times.npy")) for name in names)
    return Timing(samples_of(reference), samples_of(candidate))
