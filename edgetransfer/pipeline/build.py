"""One build: from a recipe to a verdict for every target.

What needs torch is imported where it is used: no message of a wrong option waits for it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.agent.environment import architecture, isa_flags
from edgetransfer.backbone import sources as backbones
from edgetransfer.bundle.files import write_json, writing
from edgetransfer.bundle.opened import BENCH
from edgetransfer.bundle.swap import LOCK, bundle_lock, foreign_in, locked, replacing
from edgetransfer.measure.target_match import stand
from edgetransfer.measure.verdict import VerdictName, worst
from edgetransfer.pipeline.bench.target_match import matches_this_machine, seen_at
from edgetransfer.pipeline.cost import Spending, estimate, remember
from edgetransfer.pipeline.stage.reporter import Reporter, SilentReporter, telling
from edgetransfer.pipeline.stage.run import Run
from edgetransfer.pipeline.stage.shared import SharedStore
from edgetransfer.pipeline.stage.stage import versions
from edgetransfer.pipeline.task import Step, task_of
from edgetransfer.spec import catalogue
from edgetransfer.spec.base import slug
from edgetransfer.spec.options import AUTO
from edgetransfer.transfer.team import ALONE, Team
from edgetransfer.transport.local import Local
from edgetransfer.transport.place import connect

if TYPE_CHECKING:
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.store import Store
    from edgetransfer.spec.recipe import Recipe
    from edgetransfer.spec.target import TargetSpec

    Reports = Mapping[str, dict[str, Any]]

RUN_SCHEMA = "edgetransfer.run/1"


@dataclass(frozen=True)
class Outcome:
    """What a build ends on: the worst of its verdicts; report and bundle by target; notes."""

    verdict: VerdictName
    reports: Reports
    folders: Mapping[str, Path]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        """Return the verdict of each target, in one line."""
        told = (f"{name}: {report['verdict']}" for name, report in self.reports.items())
        return f"<Outcome {', '.join(told)}>"

    def _repr_html_(self) -> str:
        """Show a row for each target in a notebook, with a link to its report."""
        from edgetransfer.report.index import outcome_table

        return outcome_table(self.reports, self.folders)


def resolve(recipe: Recipe, store: Store, reporter: Reporter, team: Team = ALONE) -> Run:
    """Look up targets and backbone before any work; SpecError where one does not exist."""
    flags, arch = isa_flags(), architecture()
    targets = tuple(catalogue.resolve(name, arch, flags) for name in dict.fromkeys(recipe.targets))
    catalogue.calibration_recipe(recipe.quant.calibration)
    auto = recipe.backbone.source == AUTO
    candidates = backbones.candidates_of(recipe.backbone.candidates) if auto else ()
    source = candidates[0] if candidates else backbones.locate(recipe.backbone.source)
    if recipe.fit.device is not None:
        from edgetransfer.transfer.machine_settings import device

        device(recipe.fit.device)
    asked = recipe.distill.source
    teacher = None if asked is None else backbones.locate(asked, option="--distill-from")
    if team.size > 1:
        store = SharedStore(store.root, team)
        reporter = reporter if team.rank == 0 else SilentReporter()
        with telling(reporter, "processes") as line:
            line.summary = team.told
    return Run(recipe, targets, source, store, reporter, teacher, candidates, team=team)


def plan(run: Run) -> list[Step]:
    """List the stages of a build in order, before any work."""
    recipe = run.recipe
    steps = [Step("data", f"read, check and split {recipe.data.source}")]
    steps += task_of(recipe).plan(run)
    for target in run.targets:
        precision: str = recipe.quant.precision
        if precision == "auto":
            precision = f"{target.precision}, then costlier candidates while the budget is not met"
        numbers = "accuracy as a preview; this machine is not the target, so no times"
        if matches_this_machine(target):
            numbers = "accuracy, latency, memory on this machine"
        steps += [
            Step(f"compress {target.name}", precision),
            Step(f"export {target.name}", "model, contract, golden vectors, agent"),
            Step(f"measure {target.name}", numbers),
        ]
    told = estimate(run)
    return [*steps, *([Step("time", told)] if told else [])]


def build(
    recipe: Recipe,
    out: Path,
    store: Store,
    reporter: Reporter,
    team: Team = ALONE,
    verify_on: str | None = None,
) -> Outcome:
    """Run all stages for all targets; what is kept already is not done again.

    Of a team, all but the first end after the fit. What cannot be verified here is measured at
    `verify_on` too, where that is a device, or the emulated processor, of the target.

    An EdgeTransferError for every failure that is not a bug; at once where another run works in
    `out`, or what stands in a bundle's place is none of ours.
    """
    spending, run = Spending(), resolve(recipe, store, reporter, team)
    there = None if verify_on is None or team.rank > 0 else Verification.at(verify_on)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()  # a read-only folder is met before the work
    if team.rank > 0:
        return _build(run, out, spending)
    with ExitStack() as held:
        held.enter_context(locked(out / LOCK))
        for target in run.targets:
            held.enter_context(locked(bundle_lock(out / target.name)))
            foreign_in(out / target.name)
        if told := estimate(run):
            with telling(reporter, "time") as line:
                line.summary = told
        outcome = _build(run, out, spending)
    if there is None:
        return outcome
    reports = {**outcome.reports, **there.reports(run, outcome.reports, outcome.folders)}
    return _ended(run, out, reports, outcome.folders, spending)


def _build(run: Run, out: Path, spending: Spending) -> Outcome:
    task = task_of(run.recipe)
    run = task.choose(run)
    fitted = task.fit(run)
    spending.shared = len(run.store.visits)
    folders = {target.name: out / target.name for target in run.targets}
    reports = {
        target.name: _build_target(run, fitted, target, folders[target.name], spending)
        for target in run.targets
    }
    return _ended(run, out, reports, folders, spending)


def _ended(
    run: Run, out: Path, reports: Reports, folders: Mapping[str, Path], spending: Spending
) -> Outcome:
    from edgetransfer.report.index import write_index

    why = () if run.choice is None else (run.choice["why"],)
    outcome = Outcome(
        worst([report["verdict"] for report in reports.values()]),
        reports,
        folders,
        tuple(dict.fromkeys((*(n for r in reports.values() for n in r["notes"]), *why))),
    )
    spent = spending.written(run.store.visits)
    remember(run, spent)
    with writing(out):
        write_json(out / "run.json", {**_record(run, outcome), **spent})
        write_index(out, outcome.reports, outcome.folders)
    return outcome


def _build_target(
    run: Run, fitted: FittedGraph, target: TargetSpec, folder: Path, spending: Spending
) -> dict[str, Any]:
    from edgetransfer.pipeline.bench.judge import Bench, Question, finish, judge_bundle
    from edgetransfer.pipeline.ladder.ladder import compress
    from edgetransfer.pipeline.ship.assemble import assemble

    before = len(run.store.visits)
    compressed = compress(run, fitted, target)
    with replacing(folder) as place:
        bundle = assemble(run, fitted, compressed, target, place)
        question = Question.of(bundle, fitted.manifest, run.recipe.grouped_by)
        bench = Bench(run.store.keep, run.reporter, Local(), folder, run.recipe.data)
        prepare = fitted.preparer()
        report = judge_bundle(bench, bundle, question, prepare)
        report["build"] = spending.written(run.store.visits, before)
        finish(bundle, report, question.thumbnails(report, prepare, built=True))
    return report


def _record(run: Run, outcome: Outcome) -> dict[str, Any]:
    return {
        "schema": RUN_SCHEMA,
        "verdict": outcome.verdict,
        "targets": {
            name: {
                "verdict": report["verdict"],
                "reasons": report["reasons"],
                "folder": outcome.folders[name].name,
            }
            for name, report in outcome.reports.items()
        },
        "recipe": run.recipe.model_dump(mode="json"),
        "notes": list(outcome.notes),
        "versions": versions(),
    }


@dataclass(frozen=True)
class Verification:
    """A place, as `connect` takes it, that was looked at before the work and is to measure too."""

    where: str
    seen: Mapping[str, Any]
    emulated: bool

    @classmethod
    def at(cls, where: str) -> Verification:
        """Look at a place; an EdgeTransferError where it is not there, or not prepared."""
        with connect(where) as place:
            return cls(where, seen_at(place), place.emulated)

    def reports(self, run: Run, built: Reports, folders: Mapping[str, Path]) -> Reports:
        """Measure the bundles of those targets there which are UNVERIFIED, and which it may prove.

        Returns their reports by target; `bench/` of each bundle holds them too.
        """
        from edgetransfer.pipeline.bench.bench import There, bench

        found = {}
        for target in run.targets:
            name = target.name
            open_yet = built[name]["verdict"] == "UNVERIFIED"
            if open_yet and stand(target, self.seen, emulated=self.emulated).proves:
                room = folders[name] / BENCH / slug(self.where)
                there = There(self.where)
                report = bench(folders[name], run.recipe.data, room, run.reporter, there)
                note = f"{name} was measured on {self.where}: {room / 'report.html'}"
                found[name] = {**report, "notes": [*built[name]["notes"], note]}
        return found
