"""The measure stage: the agent runs reference and candidate, and its raw numbers are kept.

Elsewhere the shipped network runs here too, and what mends a device that disagrees is sought.
"""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.agent.benchmark import CHECKED
from edgetransfer.agent.environment import architecture
from edgetransfer.agent.outputs import Outputs
from edgetransfer.agent.runtimes import CPU
from edgetransfer.graph.census import read_residency
from edgetransfer.graph.embed import whole_model
from edgetransfer.graph.hosted import exact_here
from edgetransfer.graph.prepare import Preparer, write_each
from edgetransfer.pipeline.bench.proofs import (
    RAW_EXAMPLES,
    Prover,
    kept_as,
    outputs_in,
    rebuilt,
    spread,
)
from edgetransfer.pipeline.bench.target_match import describe
from edgetransfer.pipeline.bench.times import input_files, take
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.spec import catalogue
from edgetransfer.spec.progress import silent
from edgetransfer.transport.job import LITERT, Effort, InputFiles, Job, Variant
from edgetransfer.transport.local import Local
from edgetransfer.transport.place import LOCAL, Place

if TYPE_CHECKING:
    from edgetransfer.bundle.opened import Bundle
    from edgetransfer.data.manifest import Example
    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.target import Runtime, TargetSpec

SHARED = 500
"""Examples in files of their own from which on processes share them: a process takes half a second
to begin."""
MODELS = ("reference.onnx", "core.onnx", "model.onnx")
CORE = ("reference", "candidate")
WHOLE = ("reference_whole", "candidate_whole")
_OWN = "onnxruntime"
_SIGNED_AS_ON_ARM = {"session.qdqisint8allowed": "1"}
"""On x86 ONNX Runtime makes signed activations unsigned and leaves some layers in float; with this
entry it computes what it computes on Arm (bit-equal on 20 of 20 pictures)."""


def oracle(activation: str | None, device_arch: str) -> dict[str, str]:
    """Return the settings with which this machine computes what the device is meant to.

    `activation` is the type of the activations' codes, None where they are floats.
    """
    if activation == "s8" and architecture() == "x86_64" and device_arch.startswith("arm"):
        return dict(_SIGNED_AS_ON_ARM)  # beside what makes weights unsigned it finds no kernel
    return exact_here()


def agree(
    place: Place,
    candidate: Variant,
    activation: str | None,
    environment: Mapping[str, Any],
    room: Path,
) -> dict[str, Any]:
    """Run the candidate here, and on the device with the settings of its class if they differ.

    In `room` lie the device's outputs of the candidate; those of the host are written beside them,
    and those of a cure where one was tried. For `activation` see `oracle`.
    """
    asked = oracle(activation, str(environment.get("arch")))
    config = {key: value for key, value in asked.items() if key not in candidate.config}
    here = replace(candidate, config={**candidate.config, **config}, provider=CPU, runtime=_OWN)
    host = _outputs(Local(), here, room, "host")
    record: dict[str, Any] = {"config": config, "emulated": place.emulated}
    if host.equals(Outputs.load(room / kept_as("candidate"))):
        return record
    remedy = _remedy(environment, candidate.config) if candidate.provider == CPU else None
    if remedy is not None:
        settings = remedy.session.config
        there = replace(candidate, config={**candidate.config, **settings})
        _outputs(place, there, room, "cured")
        record["cure"] = {
            "config": settings,
            "why": remedy.session.why or f"this is {remedy.title}",
            "targets": [remedy.name],
        }
    return record


def _outputs(place: Place, variant: Variant, room: Path, name: str) -> Outputs:
    found, _ = place.outputs(variant, room)
    found.save(room / kept_as(name))
    return found


def _remedy(environment: Mapping[str, Any], tried: Mapping[str, str]) -> TargetSpec | None:
    """Return the class of the device, where its sessions have settings that were not tried."""
    best = catalogue.class_of(str(environment.get("arch")), frozenset(environment.get("isa", ())))
    if best is None or best.session.config.items() <= dict(tried).items():
        return None
    return best


@dataclass(frozen=True)
class Subject:
    """What is measured, where each of `MODELS` lies, and how its sessions are made.

    Attributes:
        effort: how times are taken; None where the place may not stand for the target.
        activation: type of the activations' codes, None where they are floats.
        environment: of the place, before anything was measured.
        litert: the network for LiteRT, where the bundle has one and this place runs it.
    """

    models: Mapping[str, Path]
    preprocessing: ImagePreprocessing | TextPreprocessing
    threads: int
    config: Mapping[str, str]
    runtime: Runtime
    effort: Effort | None
    place: Place
    activation: str | None
    environment: Mapping[str, Any]
    litert: Path | None = None


def same_network(bundle: Bundle) -> bool:
    """Tell from the digests of a bundle's files whether the floats themselves are shipped."""
    return bundle.digest("reference.onnx") == bundle.digest("core.onnx")


def measure(
    subject: Subject, prepare: Preparer, examples: Sequence[Example], seed: int
) -> Callable[[Path, Progress], dict[str, Any]]:
    """Return what makes the stage's files: raw outputs, raw times, and one JSON record."""

    def make(out: Path, progress: Progress) -> dict[str, Any]:
        with scratch(out) as folder:
            inputs = input_files(prepare, examples, folder)
            session = _Session(subject, inputs, folder, out, progress)
            record: dict[str, Any] = {"examples": len(examples)}
            record |= session.run()
            record["on_host"] = session.on_host()
            record["formats"] = session.formats()
            whole: dict[str, Variant] = {}
            if not subject.runtime.builds_engines:
                whole = session.whole_variants(prepare, examples)
                record["proofs"] = session.prove(whole["candidate_whole"])
            else:
                record["rebuilds"] = rebuilt(subject.place, session.core["candidate"], folder, out)
            if subject.effort is not None:
                record["timing"] = {"core": session.times(session.core, subject.effort, seed)}
                if whole and subject.preprocessing.in_graph:
                    record["timing"]["whole"] = session.times(whole, subject.effort, seed + 1)
            return record

    return make


class _Session:
    """Runs the jobs of one measurement."""

    def __init__(
        self, subject: Subject, inputs: InputFiles, scratch: Path, out: Path, progress: Progress
    ) -> None:
        self._progress = progress
        self._judged: dict[str, str] = {}
        self._subject = subject
        self._place = subject.place
        self._scratch = scratch
        self._out = out
        base = Variant(
            "reference",
            str(subject.models["reference.onnx"]),
            inputs,
            threads=subject.threads,
            config=dict(subject.config),
            provider=subject.runtime.provider,
            runtime=subject.runtime.name,
        )
        candidate = replace(base, name="candidate", model=str(subject.models["core.onnx"]))
        self.core = {"reference": base, "candidate": candidate}
        self._same = filecmp.cmp(base.model, candidate.model, shallow=False)

    def run(self) -> dict[str, Any]:
        """Run both variants over all examples; where they are one network, once."""
        names = CORE[1:] if self._same else CORE
        with self._place.side_by_side() as pool:
            residency, seen = pool.submit(self._residency), pool.submit(describe, self._place)
            given = {
                name: [pool.submit(self._part, part, shown) for part, shown in self._parts(name)]
                for name in names
            }
            runs = {
                name: self._joined(name, [one.result() for one in given[name]]) for name in names
            }
        if self._same:
            reference, candidate = CORE
            shutil.copyfile(self._out / kept_as(candidate), self._out / kept_as(reference))
            self._judged[reference] = self._judged[candidate]
            runs = {reference: runs[candidate], **runs}
        return {"residency": residency.result(), "runs": runs, "environment": seen.result()}

    def _residency(self) -> dict[str, Any] | None:
        """Let the runtime write the candidate back as it optimised it, and count."""
        runtime = self._subject.runtime
        compiled = runtime.name == "onnxruntime" and runtime.provider != CPU  # no ONNX holds that
        if compiled or "optimise" not in self._place.actions:
            return None
        target = self._scratch / "optimised.onnx"
        variant = replace(self.core["candidate"], optimised_to=str(target))
        self._place.run(Job("optimise", (variant,)), self._scratch)
        return asdict(read_residency(target))

    def on_host(self) -> dict[str, Any] | None:
        """Run the candidate on this machine too, where the device is another."""
        if self._place.where == LOCAL:
            return None
        activation, seen = self._subject.activation, self._subject.environment
        return agree(self._place, self.core["candidate"], activation, seen, self._out)

    def formats(self) -> list[str]:
        """Run the network for another runtime over all examples; name the runtimes."""
        if self._subject.litert is None:
            return []
        runtime, provider = LITERT
        own, file = self.core["candidate"], str(self._subject.litert)
        there = replace(own, name=runtime, model=file, runtime=runtime, provider=provider)
        found, _ = outputs_in(self._place, there, self._scratch)
        names = Outputs.load(self._out / kept_as("candidate"))
        Outputs(zip(names, found.values(), strict=True)).save(self._out / kept_as(runtime))
        return [runtime]

    def _parts(self, name: str) -> list[tuple[Variant, Progress]]:
        """Return a variant with all examples, or several with a part of them each, and who tells.

        Examples in files of their own are shared among the processes that the place runs at once;
        the first tells of its part as of all.
        """
        variant, shown = self.core[name], silent
        if name == CORE[0] or self._same:
            shown = self._progress
        counts = {len(files) for files in variant.inputs.values() if isinstance(files, list)}
        count = counts.pop() if len(counts) == 1 and self._place.at_once > 1 else 0
        if count < SHARED:
            return [(variant, shown)]
        ends = np.linspace(0, count, self._place.at_once + 1, dtype=int)
        parts = [
            replace(variant, inputs={port: files[a:b] for port, files in variant.inputs.items()})
            for a, b in pairwise(ends)
        ]

        def first(done: int, total: int | None) -> None:
            shown(min(len(parts) * done, count), count)

        return [(part, silent if number else first) for number, part in enumerate(parts)]

    def _part(self, variant: Variant, progress: Progress) -> tuple[Outputs, dict[str, Any]]:
        """Run a variant over its examples in a process of its own."""
        found, told = outputs_in(self._place, variant, self._scratch, progress)
        return found, {key: value for key, value in told.items() if key != "event"}

    def _joined(self, name: str, parts: Sequence[tuple[Outputs, dict[str, Any]]]) -> dict[str, Any]:
        """Keep the outputs of all parts as one; return what the process of the first told.

        The peak of memory is that of all, and so is whether they said the same twice.
        """
        found = Outputs.of(list(parts[0][0]), [list(part.values()) for part, _ in parts])
        self._judged[name] = _digest(found)
        found.save(self._out / kept_as(name))
        record, *others = (told for _, told in parts)
        for told in others:
            record["deterministic"] &= told["deterministic"]
            if told.get("peak_mib") is not None:
                record["peak_mib"] = max(record["peak_mib"], told["peak_mib"])
        return record

    def prove(self, whole: Variant) -> dict[str, Any]:
        """Run what proves that the right thing was measured, rightly."""
        spec, rooms = self._subject.preprocessing, (self._scratch, self._out)
        record, given = Prover(self._place, self.core["candidate"], whole, spec, *rooms).prove()
        self._judged[whole.name] = _digest(given)
        return record

    def times(self, variants: Mapping[str, Variant], effort: Effort, seed: int) -> dict[str, Any]:
        """Time variants against each other in fresh processes; return what else these told.

        What is one network is timed once: there is nothing to compare.
        """
        reference, candidate = variants
        timed = [candidate] if self._same else [reference, candidate]
        asked = tuple(variants[name] for name in timed)
        taken = take(self._place, asked, effort, seed * 1000, self._scratch, self._progress)
        for name, table in taken.tables.items():
            np.save(self._out / f"{name}.times.npy", table)
        if self._same:
            np.save(self._out / f"{reference}.times.npy", taken.tables[candidate])
        judged = {name: self._judged[name] for name in variants if name in self._judged}
        return {**taken.record, "judged_outputs": judged}

    def whole_variants(self, prepare: Preparer, examples: Sequence[Example]) -> dict[str, Variant]:
        """Return both models with their preprocessing, fed with decoded pictures."""
        folder = self._scratch / "raw"
        folder.mkdir()
        few = [examples[i] for i in spread(len(examples), RAW_EXAMPLES)]
        files = write_each(prepare.raw, few, folder)
        reference = whole_model(
            onnx.load(self.core["reference"].model), self._subject.preprocessing
        )
        onnx.save(reference, self._scratch / "reference_whole.onnx")
        models = self._scratch / "reference_whole.onnx", self._subject.models["model.onnx"]
        return {
            name: replace(self.core["reference"], name=name, model=str(model), inputs=files)
            for name, model in zip(WHOLE, models, strict=True)
        }


def _digest(found: Outputs) -> str:
    """Return the digest of the first outputs, as `agent.benchmark` tells it of a timed session."""
    return found.rows(slice(CHECKED)).digest()
