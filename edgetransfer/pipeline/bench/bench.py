"""Measures a bundle again, on data the user names or on its golden pictures alone.

Beside the verdict it may work for minutes on a device, and take the energy of an inference there.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.bundle.files import write_json, writing
from edgetransfer.bundle.opened import (
    BENCH,
    REPORT,
    Bundle,
    open_bundle,
    refuse_other_outputs,
    stored_as,
)
from edgetransfer.bundle.readers import GOLDEN, read_golden, read_portability
from edgetransfer.bundle.swap import LOCK, bundle_lock, locked
from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.data.sources import load_for_evaluation
from edgetransfer.errors import DataError, SpecError
from edgetransfer.graph.embed import PICTURE
from edgetransfer.graph.prepare import Preparer, preparer
from edgetransfer.measure.speed.sustained import energy_of_its_own, in_words, summarise_series
from edgetransfer.measure.target_match import PROMISED, kind_of
from edgetransfer.pipeline.bench.judge import Bench, Question, judge_bundle, write_report
from edgetransfer.pipeline.bench.target_match import seen_here
from edgetransfer.pipeline.bench.times import TIMED_INPUTS, input_files, variants_of
from edgetransfer.pipeline.cost import emulated
from edgetransfer.pipeline.stage.reporter import Reporter, telling
from edgetransfer.pipeline.stage.stage import RECORD, Stage, StageResult, watched
from edgetransfer.pipeline.task import task_of
from edgetransfer.report.node import Node
from edgetransfer.report.page import verdict
from edgetransfer.report.sections import answers
from edgetransfer.spec import catalogue
from edgetransfer.spec.options import seconds_of
from edgetransfer.spec.outside import json_of
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transport.job import Job, SustainedLoad, Variant
from edgetransfer.transport.place import AS_IT_IS, LOCAL, Place, Software, connect

if TYPE_CHECKING:
    from edgetransfer.spec.options import TimingEffort
    from edgetransfer.spec.recipe import DataSpec


INDEX = "golden/index.json"
RAW = "raw"
PORTABILITY = "portability.json"
WINDOW_S = 5.0
ENERGY_S = 10.0
"""Of idling, and of work: as MLPerf Tiny asks for at least."""


@dataclass(frozen=True)
class There:
    """Where to measure, and what beside the verdict.

    Attributes:
        where: what `transport.place.connect` takes.
        sustained_s: for how long the bundle is to work without a rest; None for not at all.
        as_target: the target whose runtime and settings run the network; None: the bundle's own.
        timing: how long times are taken, however the bundle was built.
        examples: how many are run at most; None for all.
        show_examples: whether the report may show some; None for as the bundle was built.
    """

    where: str = LOCAL
    software: Software = AS_IT_IS
    sustained_s: float | None = None
    energy: bool = False
    as_target: str | None = None
    timing: TimingEffort = "standard"
    examples: int | None = None
    show_examples: bool | None = None

    @classmethod
    def of(cls, options: Mapping[str, Any], where: str) -> There:
        """Return what was asked for, by the names of `BenchOptions`, at one place.

        SpecError for what is no duration, or no number of examples.
        """
        most = options.get("examples")
        if most is not None and most < 1:
            raise SpecError("too few examples", where=f"--examples {most}", expected="at least 1")
        wheels, lasting = options.get("wheels"), options.get("sustained")
        return cls(
            where,
            Software(None if wheels is None else Path(wheels), options.get("python")),
            None if lasting is None else seconds_of(lasting, "--sustained"),
            bool(options.get("energy")),
            options.get("as_target"),
            options.get("timing") or cls.timing,
            most,
            options.get("show_examples"),
        )


HERE = There()


def bench(
    folder: Path, data: DataSpec | None, out: Path, reporter: Reporter, there: There = HERE
) -> dict[str, Any]:
    """Measure a bundle somewhere, now; write report and raw samples to `out`, return the report.

    With labelled data the verdict is the same kind as a build's; with unlabelled data, or none (the
    golden examples), everything but accuracy is judged, by the budget that the bundle was built
    with. SpecError where there is no such place, or it cannot do what is asked; IntegrityError of
    what is no bundle, or a changed one; DataError of data that cannot be read, or of the other
    kind.
    """
    with ExitStack() as held:
        if os.access(folder.absolute().parent, os.W_OK):  # else nobody replaces it meanwhile
            held.enter_context(locked(bundle_lock(folder.absolute()), shared=True))
        bundle = _as(open_bundle(folder), there.as_target)
        read_portability(bundle.file(PORTABILITY))  # before the work: it is added to after it
        for case in read_golden(bundle.file(INDEX)):
            given = {name: np.shape(rows) for name, rows in case["core"].items()}
            refuse_other_outputs(bundle, given)
        _refuse_foreign(out, bundle)
        return _bench(bundle, data, out, reporter, there)


def _as(bundle: Bundle, name: str | None) -> Bundle:
    """Return a bundle as if its files had been made for another target, None for its own.

    SpecError where there is no such target, or it takes other files than these.
    """
    if name is None:
        return bundle
    found = seen_here()
    target = catalogue.resolve(name, str(found["arch"]), frozenset(found["isa"]))
    runtime = target.runtime
    if runtime is None or runtime.builds_engines or target.export_only or target.static_shapes:
        raise SpecError(
            "the target takes other files than those of this bundle",
            where=f"--as-target {name}",
            fix=f"build for it: edgetransfer build ... --target {name}",
        )
    session = {"threads": target.session.threads, "config": dict(target.session.config)}
    held = {"target": target.model_dump(mode="json"), "session": session}
    return replace(bundle, manifest={**bundle.manifest, **held})


def _refuse_foreign(out: Path, bundle: Bundle) -> None:
    """Refuse, by a SpecError, files that a measurement would replace, and a place in the bundle."""
    fix = "name another folder with --out"
    place, sealed = out.resolve(), bundle.folder.resolve()
    if place.is_relative_to(sealed) and not place.is_relative_to(sealed / BENCH):
        raise SpecError(
            "in a bundle, measurements go to its folder bench/ alone", where=f"--out {out}", fix=fix
        )
    raw, report = out / RAW, out / REPORT
    if os.path.lexists(raw) and not _is_raw(raw):
        raise SpecError(
            "holds what no measurement of ours left, and is not written over",
            where=str(raw),
            fix=fix,
        )
    if os.path.lexists(report):
        found = json_of(report)
        schema = found.get("schema") if isinstance(found, dict) else None
        if not str(schema).startswith("edgetransfer.report/"):
            raise SpecError("is no report of ours", where=str(report), fix=fix)


def _is_raw(folder: Path) -> bool:
    return (
        not folder.is_symlink()
        and folder.is_dir()
        and all(
            each.suffix in (".npy", ".npz", ".json") or each.name == "scratch"
            for each in folder.iterdir()
        )
    )


def _bench(
    bundle: Bundle, data: DataSpec | None, out: Path, reporter: Reporter, there: There
) -> dict[str, Any]:
    with connect(there.where, there.software) as place:
        question = _question(bundle, data, reporter, there.examples)
        if place.emulated:
            _tell_time(bundle, len(question.examples), reporter, there.where)
        prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
        cut = prepare.cut(question.examples)
        shows = question.shows if there.show_examples is None else there.show_examples
        notes = (*question.notes, *([cut] if cut else []))
        question = replace(question, notes=notes, shows=shows)
        with writing(out):  # not before: what cannot be measured leaves no folder
            out.mkdir(parents=True, exist_ok=True)
        with locked(out / LOCK), writing(out):
            keep, why_not = measuring_afresh(out / RAW), bundle.unsealed
            asked = Bench(keep, reporter, place, bundle.folder, data, why_not, there.timing)
            report = judge_bundle(asked, bundle, question, prepare)
            if there.where != LOCAL and there.as_target is None:
                report["portability"] = _portability(bundle, seen_here(), there.where, report)
            report |= _beside(there, place, bundle, prepare, question, reporter)
            shown = question.thumbnails(report, prepare, built=False)
            write_report(out, report, bundle, shown)
        place.show(_found(bundle, report), bundle.file("model.onnx"))
    return report


def _found(bundle: Bundle, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a page shows of a measurement, and how it tries the model."""
    figures = [row[:3] for _, rows, _ in answers(report, again=True) for row in rows]
    return {
        "verdict": report["verdict"],
        "headline": verdict(Node(report), Node({}))["headline"],
        "figures": figures,
        "labels": bundle.labels,
        "input": PICTURE,
        "answer": task_of(bundle.recipe).usage.answer if bundle.preprocessing.in_graph else "",
    }


def _portability(
    bundle: Bundle, host: Mapping[str, Any], where: str, report: Mapping[str, Any]
) -> dict[str, Any]:
    """Write beside the bundle on which processors it computed the very same bits; return all.

    The bits of `host`, the build host's environment, are the measure.
    """
    held = {"core": bundle.digest("core.onnx"), "session": bundle.manifest["session"]}
    found = read_portability(bundle.file(PORTABILITY))
    kept = found.get("kinds", {}) if {key: found.get(key) for key in held} == held else {}
    mine = {kind_of(host): {"where": "the build host", "bit_equal": True, "examples": None}}
    agreement = report.get("host_agreement")
    if agreement is not None:
        environment = report["environment"]
        mine[kind_of(environment)] = {
            "where": where,
            "bit_equal": agreement["bit_equal"],
            "examples": agreement["n"],
            "runtime": environment.get("runtime"),
            "measured_at": environment.get("measured_at"),
        }
    kinds = {**kept, **mine}
    exact = all(kinds.get(kind, {}).get("bit_equal") for kind in PROMISED)
    schema = "edgetransfer.portability/1"
    record = {"schema": schema, **held, "portable_exact": exact, "kinds": kinds}
    write_json(bundle.file(PORTABILITY), record)
    return record


def _beside(
    there: There,
    place: Place,
    bundle: Bundle,
    prepare: Preparer,
    question: Question,
    reporter: Reporter,
) -> dict[str, Any]:
    """Measure what stands beside the verdict, where it was asked for."""
    if there.sustained_s is None and not there.energy:
        return {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as room, telling(reporter, "sustained work") as line:
        files = input_files(prepare, question.examples[:TIMED_INPUTS], Path(room))
        models = {"reference": bundle.file("reference.onnx"), "candidate": bundle.file("core.onnx")}
        session = bundle.manifest["session"]
        both = variants_of(models, files, bundle.target, session["threads"])
        reference, candidate = (replace(each, config=session["config"]) for each in both)
        told = []
        if there.sustained_s is not None:
            found["sustained"] = sustained(place, candidate, there.sustained_s, line.progress)
            told += list(in_words(found["sustained"]))
        if there.energy:
            found["energy"] = energy(place, (reference, candidate))
            told.append("energy looked for")
        line.summary = ", ".join(told)
    return found


def sustained(
    place: Place, variant: Variant, seconds: float, progress: Progress = silent
) -> dict[str, Any]:
    """Run a variant for so long without a rest; return the report's block `sustained`.

    SpecError where the place takes no such job, or its processor is emulated.
    """
    _needs(place, "sustain", "--sustained")
    asked = SustainedLoad(seconds, min(WINDOW_S, seconds / 4))
    with tempfile.TemporaryDirectory() as folder:
        job = Job("sustain", (variant,), sustained=asked)
        series = place.run(job, Path(folder), progress=progress)["series"]
    found = summarise_series(series, on_cpu=variant.on_cpu)
    return {"seconds": seconds, "window_s": asked.window_s, **found}


def energy(place: Place, variants: Sequence[Variant]) -> dict[str, Any]:
    """Measure the energy of an inference of each variant; return the report's block `energy`.

    SpecError as `sustained`.
    """
    _needs(place, "energy", "--energy")
    with tempfile.TemporaryDirectory() as folder:
        job = Job("energy", tuple(variants), sustained=SustainedLoad(ENERGY_S))
        return energy_of_its_own(place.run(job, Path(folder))["energy"])


def _needs(place: Place, action: str, option: str) -> None:
    if place.emulated or action not in place.actions:
        found = "an emulated processor" if place.emulated else "a place that takes no such job"
        raise SpecError(
            "nothing that depends on the speed of the processor can be measured there",
            where=option,
            found=f"{place.where}: {found}",
        )


def _tell_time(bundle: Bundle, examples: int, reporter: Reporter, where: str) -> None:
    """Say what an emulated processor will take, and how to have it take less."""
    macs = (bundle.manifest.get("backbone") or {}).get("macs")
    told = emulated(where, macs, examples) if macs else ""
    if told:
        with telling(reporter, "time") as line:
            line.summary = f"{told} for {examples} examples; `bench --examples N` runs fewer"


def _question(
    bundle: Bundle, data: DataSpec | None, reporter: Reporter, most: int | None
) -> Question:
    """Read the examples, and ask what is asked of the bundle."""
    with telling(reporter, "data") as line:
        manifest = (
            unlabelled_golden(bundle)
            if data is None
            else read_new(bundle, data, bundle.labels, line.progress)
        )
        question = Question.of(bundle, manifest, data.group_by if data else (), most)
        line.summary = f"{question.sample.given} examples, {question.sample.judged} judged"
    return question


def measuring_afresh(folder: Path) -> Callable[[Stage, Progress], StageResult]:
    """Return what measures into `folder` whatever was measured before."""

    def keep(stage: Stage, progress: Progress) -> StageResult:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        with watched() as cost:
            write_json(folder / RECORD, stage.make(folder, progress))
            return StageResult(folder, "", reused=False, cost=cost())

    return keep


def read_new(
    bundle: Bundle, data: DataSpec, labels: tuple[str, ...], progress: Progress
) -> Manifest:
    """Read examples with labels of a model, and warn of those that it was fitted on.

    DataError where they cannot be read, are of the other kind, or have other labels.
    """
    rules = task_of(bundle.recipe).labels
    manifest = load_for_evaluation(data, rules, progress=progress)
    refuse_other_kind(bundle, manifest, data)
    return rules.recognised(manifest, labels, data.source)


def refuse_other_kind(bundle: Bundle, manifest: Manifest, data: DataSpec) -> None:
    """Refuse, by a DataError, texts for a bundle of pictures, and pictures for one of texts."""
    if manifest.modality != bundle.preprocessing.kind:
        raise DataError(
            f"the bundle classifies {bundle.preprocessing.noun}s, and the examples are "
            f"{manifest.input.noun}s",
            where=data.source,
        )


def golden_of(bundle: Bundle) -> tuple[Example, ...]:
    """Return the golden examples, with their labels."""
    index = bundle.file(INDEX)
    listed, labels, spec = bundle.manifest["files"], bundle.labels, bundle.preprocessing
    rules = task_of(bundle.recipe).labels
    examples = []
    for number, case in enumerate(read_golden(index)):
        label, text, png = case["label"], case["text"], case.get("png")
        shown = png if spec.in_graph else text
        place = stored_as(bundle.manifest, f"golden/{png}")
        lost = png is not None and place not in listed
        if shown is None or lost or not (label is None or rules.known(label, labels)):
            raise GOLDEN.fault(
                "a golden example that is not of this bundle",
                index,
                f"case {number}: label {label!r}, file {png!r}",
            )
        path = None if png is None else bundle.folder / place
        digest = text if path is None else listed[place]
        examples.append(Example(f"golden {number}", path, text, label, "test", {}, digest))
    return tuple(examples)


def unlabelled_golden(bundle: Bundle) -> Manifest:
    """Take the golden examples as unlabelled data: the model may have been chosen on them."""
    examples = tuple(replace(each, label=None) for each in golden_of(bundle))
    folder = str(bundle.file(INDEX).parent)
    return Manifest(bundle.preprocessing.kind, examples, bundle.labels, folder)
