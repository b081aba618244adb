"""The measure stage: the agent runs reference and candidate, and its raw numbers are kept.

It does not judge them.
"""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.errors import StageError
from edgetransfer.export.onnx_bundle import whole_model
from edgetransfer.graph.census import residency
from edgetransfer.graph.prepare import TextPreparer, stack, write_each
from edgetransfer.measure.facts import Timing
from edgetransfer.measure.latency import Samples
from edgetransfer.pipeline.agreeing import Two, agree
from edgetransfer.pipeline.run import leave
from edgetransfer.pipeline.store import scratch
from edgetransfer.transport.job import Effort, InputFiles, Job, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.pipeline.store import Kept
    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
    from edgetransfer.spec.progress import Progress
    from edgetransfer.transport.place import Place

RAW_PICTURES = 12
"""Decoded pictures that the end-to-end series cycles through."""
WHOLE_TOLERANCE = 1e-3
"""Largest difference between model.onnx and core.onnx, over the range of the logits."""
CORE = ("reference", "candidate")
WHOLE = ("reference_whole", "candidate_whole")


@dataclass(frozen=True)
class Subject:
    """What is measured, and how its sessions are made.

    Attributes:
        folder: of the bundle.
        effort: how times are taken; None where the place may not stand for the target.
        place: where the agent runs.
        activation: type of the activations' codes, None where they are floats.
    """

    folder: Path
    preprocessing: ImagePreprocessing | TextPreprocessing
    threads: int
    config: Mapping[str, str]
    provider: str
    effort: Effort | None
    place: Place
    activation: str | None


def describe(place: Place) -> dict[str, Any]:
    """Ask the agent for the environment it would measure in."""
    with tempfile.TemporaryDirectory() as folder:
        environment: dict[str, Any] = place.run(Job("describe"), Path(folder))["environment"]
    return environment


def measure(
    subject: Subject, prepare: Preparer, examples: Sequence[Example], seed: int, progress: Progress
) -> Callable[[Path], None]:
    """Return what makes the stage's files: raw logits, raw times, and one JSON record."""

    def make(out: Path) -> None:
        with scratch(out) as folder:
            inputs: InputFiles
            if isinstance(prepare, TextPreparer):
                inputs = write_each(prepare.prepare, examples, folder)
            else:
                inputs = stack(prepare.prepare, examples, folder)
            session = _Session(subject, inputs, folder, out, progress)
            record: dict[str, Any] = {"examples": len(examples)}
            record["environment"] = describe(subject.place)
            record["residency"] = session.residency()
            record["runs"] = {name: session.logits(name) for name in CORE}
            record["on_host"] = session.on_host(record["environment"])
            whole = session.whole_variants(prepare, examples)
            record["whole"] = session.compare_whole(whole["candidate_whole"], examples)
            if subject.effort is not None:
                record["warmed_up"] = session.times(session.core, subject.effort, seed)
                if subject.preprocessing.kind == "image":
                    record["warmed_up"] |= session.times(whole, subject.effort, seed + 1)
            leave(out, "measured.json", record)

    return make


class _Session:
    """Runs the jobs of one measurement."""

    def __init__(
        self,
        subject: Subject,
        inputs: InputFiles,
        scratch: Path,
        out: Path,
        progress: Progress,
    ) -> None:
        self._progress = progress
        self._timed = 0
        self._subject = subject
        self._place = subject.place
        self._scratch = scratch
        self._out = out
        base = Variant(
            "reference",
            str(subject.folder / "reference.onnx"),
            inputs,
            threads=subject.threads,
            config=dict(subject.config),
            provider=subject.provider,
        )
        candidate = replace(base, name="candidate", model=str(subject.folder / "core.onnx"))
        self.core = {"reference": base, "candidate": candidate}

    def residency(self) -> dict[str, Any] | None:
        """Let the runtime write the candidate back as it optimised it, and count."""
        if "optimise" not in self._place.actions:
            return None
        target = self._scratch / "optimised.onnx"
        variant = replace(self.core["candidate"], optimised_to=str(target))
        self._place.run(Job("optimise", (variant,)), self._scratch)
        return asdict(residency(onnx.load(target)))

    def on_host(self, environment: Mapping[str, Any]) -> dict[str, Any] | None:
        """Run the candidate on this machine too, where the device is another."""
        two = Two(self._place, self._subject.folder / "agent.pyz")
        if two.are_one:
            return None
        return agree(two, self.core["candidate"], self._subject.activation, environment, self._out)

    def logits(self, name: str) -> dict[str, Any]:
        """Run one variant over all examples in a process of its own."""
        job = Job("logits", (self.core[name],))
        result = dict(self._place.run(job, self._scratch, progress=self._progress))
        (self._scratch / "logits.npy").rename(self._scratch / f"{name}.npy")
        np.save(self._out / f"{name}.logits.npy", np.load(self._scratch / f"{name}.npy"))
        result.pop("event")
        return result

    def compare_whole(self, variant: Variant, examples: Sequence[Example]) -> dict[str, Any]:
        """Prove that the artefact that is shipped gives the logits that are judged.

        Raises:
            StageError: it does not.
        """
        self._place.run(Job("logits", (variant,)), self._scratch)
        whole = np.load(self._scratch / "logits.npy")
        core = np.load(self._out / "candidate.logits.npy")[_spread(examples)]
        difference = float(np.abs(whole - core).max())
        if not difference <= WHOLE_TOLERANCE * max(float(np.ptp(core)), 1.0):
            raise StageError(
                "model.onnx does not give the logits of core.onnx",
                where="measure",
                found=f"a difference of {difference:.3g} on {len(core)} examples",
                fix="this is a bug of edgetransfer: please report it with the bundle",
            )
        return {"examples": len(core), "max_abs": difference}

    def times(self, variants: Mapping[str, Variant], effort: Effort, seed: int) -> dict[str, Any]:
        """Time variants against each other in fresh processes."""
        names = tuple(variants)
        tables: dict[str, list[Any]] = {name: [] for name in names}
        warm: dict[str, bool] = dict.fromkeys(names, True)
        for process in range(effort.processes):
            job = Job(
                "time", tuple(variants.values()), plan=effort.plan, seed=seed * 1000 + process
            )
            result = self._place.run(job, self._scratch)
            self._timed += 1
            series = 2 if self._subject.preprocessing.kind == "image" else 1
            self._progress(self._timed, series * effort.processes)
            for name in names:
                tables[name].append(np.load(self._scratch / f"{name}.npy"))
                warm[name] &= result["warmed_up"][name]
        for name, parts in tables.items():
            rows = [np.insert(part, 0, process, axis=1) for process, part in enumerate(parts)]
            np.save(self._out / f"{name}.times.npy", np.concatenate(rows))
        return warm

    def whole_variants(self, prepare: Preparer, examples: Sequence[Example]) -> dict[str, Variant]:
        """Return both models with their preprocessing, fed with decoded pictures."""
        folder = self._scratch / "raw"
        folder.mkdir()
        files = write_each(prepare.raw, [examples[i] for i in _spread(examples)], folder)
        reference = whole_model(
            onnx.load(self.core["reference"].model), self._subject.preprocessing
        )
        onnx.save(reference, self._scratch / "reference_whole.onnx")
        models = {
            "reference_whole": str(self._scratch / "reference_whole.onnx"),
            "candidate_whole": str(self._subject.folder / "model.onnx"),
        }
        return {
            name: replace(self.core["reference"], name=name, model=model, inputs=files)
            for name, model in models.items()
        }


def _spread(examples: Sequence[Example]) -> list[int]:
    """Return the indices of a few examples, spread evenly over all."""
    chosen = np.linspace(0, len(examples) - 1, num=min(RAW_PICTURES, len(examples)))
    return [int(index) for index in chosen]


def logits(kept: Kept, name: str) -> np.ndarray[Any, Any]:
    """Return the raw logits of a variant, float32 [N, C]."""
    rows: np.ndarray[Any, Any] = np.load(kept.file(f"{name}.logits.npy"))
    return rows


def timing(kept: Kept, names: tuple[str, str]) -> Timing | None:
    """Return the raw times of two variants, None where none were taken."""
    if not kept.file(f"{names[0]}.times.npy").is_file():
        return None
    reference, candidate = (np.load(kept.file(f"{name}.times.npy")) for name in names)
    return Timing(Samples(*reference.T), Samples(*candidate.T))
