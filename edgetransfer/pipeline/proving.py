"""Runs a few examples again, otherwise: what proves that the right thing was measured, rightly.

It does not judge what comes back; `measure.gates` does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.graph.census import intended
from edgetransfer.graph.embed import PREPARED, preprocessing_graph
from edgetransfer.graph.float_products import with_float_products
from edgetransfer.measure.metrics import decisions
from edgetransfer.measure.proofs import Rebuilds, tensor_parity
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.transport.job import Job, Variant

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.spec.preprocess import TextPreprocessing
    from edgetransfer.transport.job import InputFiles
    from edgetransfer.transport.place import Place

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
    """Runs what is to be proven of one candidate.

    Attributes:
        place: where the agent runs.
        candidate: core.onnx on all examples.
        whole: model.onnx on a few, spread evenly.
        spec: the contract.
        scratch: for files that are not kept.
        out: of the measurement, where `candidate.logits.npy` lies already.
    """

    place: Place
    candidate: Variant
    whole: Variant
    spec: ImagePreprocessing | TextPreprocessing
    scratch: Path
    out: Path

    def prove(self) -> dict[str, Any]:
        """Run everything and return the record; logits are left in `out`."""
        model = onnx.load(self.candidate.model)
        whole = onnx.load(self.whole.model)
        record: dict[str, Any] = {
            "intended": asdict(intended(model)),
            "opset": max(_opset(each) for each in (model, whole)),
            "ir_version": max(each.ir_version for each in (model, whole)),
            "dynamic": any(n.op_type == "DynamicQuantizeLinear" for n in model.graph.node),
        }
        prepared = self._prepared(model)
        record |= {"preprocessing": prepared[0]} if prepared else {}
        record["whole"] = self._whole(None if prepared is None else prepared[1])
        return record | self._varied(model, obeyed=record["whole"]["model"] is not None)

    def _prepared(self, model: onnx.ModelProto) -> tuple[dict[str, Any], str | None] | None:
        """Prepare pictures there: how far they are from those here, and their file if at all."""
        if not isinstance(self.spec, ImagePreprocessing):
            return None
        path = self.scratch / "preprocessing.onnx"
        graph = preprocessing_graph(self.spec, opset=_opset(model), ir_version=model.ir_version)
        onnx.save(graph, path)
        variant = replace(self.whole, name="preprocessing", model=str(path))
        there, _ = self._run(variant, "prepared")
        here = np.load(_file(self.candidate.inputs), mmap_mode="r")
        here = here[spread(len(here), RAW_EXAMPLES)]
        level = self.spec.rescale / np.array(self.spec.std)
        told = asdict(tensor_parity(here, there, level))
        same = there.tobytes() == np.ascontiguousarray(here).tobytes()
        return told, None if same else str(self.scratch / "prepared.npy")

    def _whole(self, prepared: str | None) -> dict[str, Any]:
        """Run the artefact that is shipped, and the core on the tensors that it prepared there."""
        whole, told = self._run(self.whole, "whole")
        if prepared is None:
            logits = np.load(self.out / "candidate.logits.npy")
            core = logits[spread(len(logits), RAW_EXAMPLES)]
        else:
            inputs = {PREPARED: prepared}
            core, _ = self._run(replace(self.candidate, inputs=inputs), "core_there")
        return {
            "examples": len(core),
            "max_abs": float(np.abs(whole - core).max()),
            "range": float(np.ptp(core)),
            "model": told.get("model"),
        }

    def _varied(self, model: onnx.ModelProto, *, obeyed: bool) -> dict[str, Any]:
        """Run a few examples with other threads, in batches and unfused; say what was not.

        An agent that does not tell what it opened comes from before these settings, and would leave
        them out of account without a word.
        """
        few = self._few()
        threads = 2 if self.candidate.threads == 1 else 1
        runs = {THREADS: replace(few, threads=threads), UNFUSED: self._unfused(model, few)}
        missing = {}
        if not obeyed or "optimise" not in self.place.actions:
            missing = dict.fromkeys((*runs, BATCHED), "the agent there takes no such settings")
            runs = {}
        elif not isinstance(self.spec, ImagePreprocessing):
            missing[BATCHED] = "texts differ in length"
        elif model.graph.input[0].type.tensor_type.shape.dim[0].dim_value:
            missing[BATCHED] = "the model takes one batch only"
        else:
            runs[BATCHED] = replace(few, batch=BATCH)
        for name, variant in runs.items():
            logits, _ = self._run(variant, name)
            np.save(self.out / f"{name}.logits.npy", logits)
        counts = sorted({self.candidate.threads, threads})
        return {"threads": counts, "few": FEW, "not_varied": missing}

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

    def _run(self, variant: Variant, name: str) -> tuple[np.ndarray[Any, Any], Mapping[str, Any]]:
        told = self.place.run(Job("logits", (variant,)), self.scratch)
        file = (self.scratch / "logits.npy").rename(self.scratch / f"{name}.npy")
        return np.load(file), told


def rebuilt(place: Place, candidate: Variant, scratch: Path) -> dict[str, Any]:
    """Build the candidate's engine anew, and return of all builds among which decisions differ.

    Args:
        place: where the engines are built.
        candidate: on all examples; its session takes settings of TensorRT.
        scratch: holds ``candidate.npy``, the logits of the engine that is measured.
    """
    same = decisions(np.load(scratch / "candidate.npy"))
    stable = np.ones(len(same), dtype=bool)
    for number in range(1, BUILDS):
        anew = replace(candidate, config={**candidate.config, "tensorrt.rebuild": str(number)})
        place.run(Job("logits", (anew,)), scratch)
        stable &= decisions(np.load(scratch / "logits.npy")) == same
    return asdict(Rebuilds(BUILDS, len(same), int(np.count_nonzero(~stable))))


def spread(count: int, few: int) -> Sequence[int]:
    """Return the indices of a few examples, spread evenly over all.

    >>> spread(5, 3)
    [0, 2, 4]
    """
    return [int(index) for index in np.linspace(0, count - 1, num=min(few, count))]


def _opset(model: onnx.ModelProto) -> int:
    return int(max(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")))


def _file(inputs: InputFiles) -> str:
    """Return the stack of prepared pictures: a model of pictures has one input."""
    (file,) = inputs.values()
    assert isinstance(file, str)
    return file
