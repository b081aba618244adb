"""From raw measurements to a report on disk: measures or takes what is kept, then judges."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from edgetransfer.agent.environment import cpu_model, isa_flags
from edgetransfer.bundle.agent_archive import agent_digest
from edgetransfer.bundle.files import write_json, write_whole
from edgetransfer.bundle.opened import (
    LITERT_FILE,
    REPORT,
    Bundle,
    add_facts,
    refuse_other_outputs,
    seal_report,
)
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.data.split import drawn
from edgetransfer.graph.hosted import exact_here
from edgetransfer.measure.measurement import Measurement, Timing
from edgetransfer.measure.record import make_report
from edgetransfer.measure.sample import Sample, draw
from edgetransfer.measure.speed import validity
from edgetransfer.measure.stats.intervals import quantile
from edgetransfer.measure.target_match import Standing, stand
from edgetransfer.pipeline.bench import measure
from edgetransfer.pipeline.bench.proofs import on_host, outputs_of, proofs, timing
from edgetransfer.pipeline.bench.target_match import how_to_verify, seen_at
from edgetransfer.pipeline.stage.reporter import Reporter, telling
from edgetransfer.pipeline.stage.stage import RECORD, Stage, StageResult
from edgetransfer.pipeline.task import task_of
from edgetransfer.report.page import render_page
from edgetransfer.report.readme import README, render_readme
from edgetransfer.report.thumbnails import Thumbnails, thumbnails
from edgetransfer.spec.target import Runtime, TargetSpec
from edgetransfer.transport.job import EFFORTS, LITERT
from edgetransfer.transport.place import LOCAL

if TYPE_CHECKING:
    from edgetransfer.graph.prepare import Preparer
    from edgetransfer.spec.options import TimingEffort
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.recipe import DataSpec
    from edgetransfer.transport.place import Place

PAGE = "report.html"
_LOADING = ("load_ms", "first_inference_ms")
_CAP = 0xCA9
"""Keeps these draws apart from others with the same seed."""
_SERIES = (measure.CORE, measure.WHOLE)
_TRAVELLING = ("soundness", "adaptation", "labelling", "choice", "recorded")
"""What a manifest tells, and a report with it."""


@dataclass(frozen=True)
class Question:
    """What a bundle is judged by; `shows` is whether the report may show some of the examples."""

    manifest: Manifest
    examples: Sequence[Example]
    group_by: tuple[str, ...]
    sample: Sample
    notes: tuple[str, ...] = ()
    shows: bool = True

    @classmethod
    def of(
        cls, bundle: Bundle, manifest: Manifest, group_by: Sequence[str], most: int | None = None
    ) -> Question:
        """Ask of every content of the test set once, as far as the model did not know it.

        Of more than `most`, so many are drawn, strata in proportion, with the build's seed.
        """
        given = manifest.split("test")
        digests, labels = [each.digest for each in given], [each.label for each in given]
        places, sample = draw(digests, labels, bundle.fitted_on)
        judged = [given[place] for place in places]
        if most is not None and len(judged) > most:
            left_out, recipe = len(judged) - most, bundle.recipe
            judged = list(drawn(judged, most, [recipe.seed, _CAP], task_of(recipe).labels))
            sample = replace(sample, judged=most, capped=left_out)
        notes = (*manifest.notes, *sample.told())
        shows = bundle.recipe.show_examples
        return cls(manifest, judged, tuple(group_by), sample, notes, shows)

    def thumbnails(
        self, report: Mapping[str, Any], prepare: Preparer, *, built: bool
    ) -> Thumbnails:
        """Show examples that a report names; of its build's data where it was built now."""
        keys = ("notable", *(_TRAVELLING if built else ()))
        blocks = {key: report[key] for key in keys if key in report} if self.shows else {}
        examples = {example.key: example for example in self.manifest.examples}
        return thumbnails(blocks, examples, prepare.thumbnail)


@dataclass(frozen=True)
class Bench:
    """Where measurements are kept and told of.

    Attributes:
        keep: makes a measurement, or takes one that is kept.
        folder: where the user finds the bundle.
        data: what the user judges by, None for the golden examples.
        why_not: why nothing that is measured there says anything of the target; empty where that
            depends on the place.
        timing: how long times are taken; None for what the bundle's recipe says.
    """

    keep: Callable[[Stage, Progress], StageResult]
    reporter: Reporter
    place: Place
    folder: Path
    data: DataSpec | None = None
    why_not: str = ""
    timing: TimingEffort | None = None

    def standing(
        self, target: TargetSpec, told: Mapping[str, Any], session: Mapping[str, Any] | None = None
    ) -> Standing:
        """Say what a measurement there may say of the target."""
        if self.why_not:
            return Standing("preview", (self.why_not,))
        return stand(target, told, session, emulated=self.place.emulated)


def judge_bundle(
    bench: Bench, bundle: Bundle, question: Question, prepare: Preparer
) -> dict[str, Any]:
    """Measure a bundle and return its report."""
    target, recipe = bundle.target, bundle.recipe
    before = seen_at(bench.place)
    standing = bench.standing(target, before)
    timed, preview = standing.is_target, standing.kind == "preview"
    session, files = bundle.manifest["session"], bundle.manifest["files"]
    runtime = (not preview and target.runtime) or Runtime.of_any_machine()
    timing = bench.timing or recipe.timing
    subject = measure.Subject(
        {name: bundle.file(name) for name in measure.MODELS},
        bundle.preprocessing,
        session["threads"],
        {**exact_here(), **session["config"]} if preview else session["config"],
        runtime,
        EFFORTS[timing] if timed else None,
        bench.place,
        activation=bundle.manifest["compression"].get("scheme", {}).get("activation"),
        environment=before,
        litert=_litert(bundle, before, bench.place),
    )
    with telling(bench.reporter, f"measure {target.name}") as line:
        inputs = {
            "models": [bundle.digest(name) for name in measure.MODELS],
            "agent": agent_digest(),
            "examples": content_of(question.examples),
            "contract": [files.get(name) for name in ("preprocess.json", "tokenizer.json")],
            "session": session,
            "runtime": [runtime.name, runtime.provider],
            "timing": timing if timed else None,
            "seed": recipe.seed,
            "machine": [cpu_model(), platform.node(), *sorted(isa_flags())],
            "config": dict(subject.config),
            "activation": subject.activation,
            "litert": subject.litert and bundle.digest(LITERT_FILE),
        }
        make = measure.measure(subject, prepare, question.examples, recipe.seed)
        kept = bench.keep(Stage("measure", inputs, make), line.progress)
        line.reused = kept.reused
        report = make_report(_measurement(bundle, target, question, kept, bench))
        line.summary = f"{len(question.examples)} examples, verdict {report['verdict']}"
    return report


def _litert(bundle: Bundle, told: Mapping[str, Any], place: Place) -> Path | None:
    """Return the network for LiteRT, where there is one and this machine has what runs it."""
    there = LITERT_FILE in bundle.manifest["files"] and place.where == LOCAL
    return bundle.file(LITERT_FILE) if there and LITERT[1] in told["other_runtimes"] else None


def _measurement(
    bundle: Bundle, target: TargetSpec, question: Question, kept: StageResult, bench: Bench
) -> Measurement:
    record, runs, recipe = kept.record, kept.record["runs"], bundle.recipe
    standing = bench.standing(target, record["environment"], runs["candidate"].get("session", {}))
    costs = runs if standing.is_target else {}
    labelled = all(example.label is not None for example in question.examples)
    timed = record.get("timing", {}) if standing.is_target else {}
    times = {each: timing(kept, each) if standing.is_target else None for each in _SERIES}
    candidate = outputs_of(kept, "candidate")
    refuse_other_outputs(bundle, candidate.shapes)
    task = task_of(bundle.recipe)
    return Measurement(
        task=task,
        target=target.name,
        labels=bundle.labels,
        reference=outputs_of(kept, "reference"),
        candidate=candidate,
        truth=task.labels.truth(question.manifest, question.examples) if labelled else None,
        budget=recipe.budget,
        metric=recipe.metric,
        seed=recipe.seed,
        precision=bundle.manifest["compression"]["precision"],
        groups={
            column: [example.metadata.get(column, "") for example in question.examples]
            for column in question.group_by
        },
        core=times[measure.CORE],
        end_to_end=times[measure.WHOLE],
        reference_bytes=bundle.file("reference.onnx").stat().st_size,
        candidate_bytes=bundle.file("model.onnx").stat().st_size,
        residency=None if standing.kind == "preview" else record["residency"],
        memory={name: _memory(run) for name, run in costs.items()},
        load={name: _load(record, name, run) for name, run in costs.items()},
        environment=_environment(bundle, kept, record),
        validity=_validity(record, timed, times, standing),
        ladder=bundle.manifest["compression"]["ladder"],
        **{key: bundle.manifest.get(key) for key in _TRAVELLING},
        on_host=on_host(kept, record["on_host"]),
        formats={name: outputs_of(kept, name) for name in record.get("formats", ())},
        proofs=proofs(kept, bundle, target),
        sample=question.sample,
        notes=question.notes,
        names=[example.key for example in question.examples] if question.shows else (),
        identical=measure.same_network(bundle),
        standing=standing,
        verify_with="build it again with this version"
        if bundle.unsealed
        else how_to_verify(bundle.target, bench.folder, bench.data),
    )


def _validity(
    record: Mapping[str, Any],
    timed: Mapping[str, Any],
    times: Mapping[tuple[str, str], Timing | None],
    standing: Standing,
) -> dict[str, Any]:
    medians_ms = {
        name: quantile(samples.wall_ns, 0.5) / 1e6
        for names, both in times.items()
        if both is not None
        for name, samples in zip(names, (both.reference, both.candidate), strict=True)
    }
    whole = record.get("proofs", {}).get("whole")  # None where there was no running model.onnx
    apart = None if whole is None else {key: whole[key] for key in ("examples", "max_abs")}
    return {
        **validity.block(timed, medians_ms),
        "measured_on_target": standing.is_target,
        "standing": standing.kind,
        "not_the_target": list(standing.why),
        "deterministic": {name: run["deterministic"] for name, run in record["runs"].items()},
        "model_against_core": apart,
    }


def _environment(bundle: Bundle, kept: StageResult, record: Mapping[str, Any]) -> dict[str, Any]:
    made_at = datetime.fromtimestamp(kept.file(RECORD).stat().st_mtime, UTC)
    return {
        **record["environment"],
        **record["runs"]["candidate"].get("session", {}),
        **_conditions(record.get("timing", {})),
        "session": bundle.manifest["session"],
        "measured_at": made_at.isoformat(" ", "seconds"),
    }


def _conditions(timed: Mapping[str, Any]) -> dict[str, Any]:
    """Return what changes of the machine as it was before the first and after the last time."""
    told = [
        process["conditions"]
        for series in timed.values()
        for process in series["processes"]
        if "conditions" in process
    ]
    return {"before": told[0]["before"], "after": told[-1]["after"]} if told else {}


def _load(record: Mapping[str, Any], name: str, run: Mapping[str, Any]) -> dict[str, float]:
    """Return what opening took, the median of the timed processes: others may run beside others."""
    timed = record.get("timing", {}).get("core", {}).get("processes", ())
    told = {
        key: [each[key][name] for each in timed if name in each.get(key, ())] for key in _LOADING
    }
    return {key: median(told[key]) if told[key] else run[key] for key in _LOADING}


def _memory(run: dict[str, Any]) -> dict[str, Any]:
    before, after = run["resident_before_mib"], run["resident_after_mib"]
    grown = None if before is None or after is None else round(after - before, 2)
    held = run.get("proportional_mib")
    return {
        "load_delta_mib": grown,
        "peak_mib": round(run["peak_mib"], 2),
        "peak_includes_start_up": not run["peak_is_own"],
        **({} if held is None else {"proportional_mib": round(held, 2)}),
    }


def finish(bundle: Bundle, report: dict[str, Any], shown: Thumbnails) -> None:
    """Write README and report, and into the manifest how the model did on its own test set."""
    write_whole(bundle.folder / README, render_readme(report, bundle).encode())
    record = task_of(bundle.recipe).record(report)
    facts = {} if record is None else {"recorded": record}
    write_report(bundle.folder, report, add_facts(bundle, facts, README), shown)


def write_report(
    folder: Path, report: dict[str, Any], bundle: Bundle, shown: Thumbnails | None
) -> None:
    """Seal the report, and write ``report.json`` and ``report.html``."""
    seal_report(report, bundle)
    write_json(folder / REPORT, report)
    write_whole(folder / PAGE, render_page(report, bundle.manifest, shown).encode())
