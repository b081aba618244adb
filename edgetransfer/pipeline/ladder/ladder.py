"""The compression ladder: cheap rungs first, dearer ones only while the budget does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import isinf
from typing import TYPE_CHECKING, Any

from edgetransfer.agent.outputs import Outputs
from edgetransfer.bundle.opened import LITERT_FILE
from edgetransfer.compress import training
from edgetransfer.compress.execution import without_gradient
from edgetransfer.errors import UnsupportedError, first_line, is_numerical, let_stop
from edgetransfer.measure.measurement import TrialInput
from edgetransfer.measure.trial import Trial, hold_trial
from edgetransfer.pipeline.bench.target_match import matches_this_machine
from edgetransfer.pipeline.graphs import CompressedGraph
from edgetransfer.pipeline.ladder.rungs import CORE, Rung, RungResult, Workshop
from edgetransfer.pipeline.ladder.trial import (
    MOST_IN_OTHERS,
    OUTPUTS,
    Trials,
    outputs_in,
    told_runtimes,
)
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.task import task_of
from edgetransfer.spec.outside import MIB
from edgetransfer.transport.job import LITERT

if TYPE_CHECKING:
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.pipeline.stage.stage import StageResult
    from edgetransfer.spec.options import PrecisionChoice
    from edgetransfer.spec.target import TargetSpec

QUIET_DB = 20.0
"""Integers noisier than this have their noisiest layers named."""
TOLD_LAYERS = 3
FLOAT_LAYERS = (1, 2, 4, 8)
"""How many of the most sensitive layers are left in float, one try after the other."""


@dataclass(frozen=True)
class Result:
    """One rung with its trial, and its row of the report.

    Whether it was measured to be `faster` than floats is None where the runtime was not measured,
    or that does not tell; bounds of that speed are None where it was not measured.
    """

    made: RungResult
    trial: Trial
    faster: bool | None
    speed_ci95: tuple[float, ...] | None
    row: dict[str, Any]

    def is_faster_than(self, other: Result) -> bool:
        """Tell whether it was measured to be, beyond doubt."""
        if self.speed_ci95 is None or other.speed_ci95 is None:
            return False
        return self.speed_ci95[0] > other.speed_ci95[1]


class Ladder:
    """Climbs for one target; `here` where this machine may stand for it, and times.

    A rung that fails numerically is left out, with its reason in the report; floats are not.
    """

    def __init__(self, workshop: Workshop, *, here: bool) -> None:
        self._shop = workshop
        self._trials = Trials(workshop, here=here)
        self._ranged = workshop.fitted.preprocessing.one_shape
        self.results: list[Result] = []
        self._left_out: list[tuple[int, dict[str, Any]]] = []
        self._failed: Exception | None = None

    def climb(self, asked: PrecisionChoice) -> Result:
        """Try rungs until one holds the budget, and return the best.

        ``auto`` begins with the target's precision and ends with floats where nothing else holds;
        any other word keeps to that precision. Where no rung of it could be made, the first one's
        numerical error is raised.
        """
        best = self._climb(asked)
        return self._race(best) if asked == "auto" else best

    def _climb(self, asked: PrecisionChoice) -> Result:
        precision = self._shop.target.precision if asked == "auto" else asked
        smaller = asked == "auto" and precision == "fp32" and self._download() != ""
        precision = "w8a8" if smaller else precision
        for rung in self._cheap(precision):
            self._try(rung)
            if self.results and self._best().trial.has_margin(self._shop.run.recipe.budget):
                break
        if asked == "auto" and precision == "w8a8":
            if self._is_slower():
                floats = self._try(self._shop.floats())  # taken unless they miss the budget
                return floats if floats and floats.trial.status != "misses" else self._best()
            if self._ranged and not smaller:
                self._climb_integers()
        dropped = self._misses() or (smaller and not self._holds())
        if asked == "auto" and precision != "fp32" and dropped:
            self._try(self._shop.floats())
        if not self.results and self._failed is not None:
            raise self._failed
        return self._best()

    def _download(self) -> str:
        """Say that floats are too much to download for the target, empty where they are not."""
        most = self._shop.target.largest_download_mib
        size = self._shop.fitted.graph.stat().st_size / MIB
        if not most or size <= most:
            return ""
        return f"floats are {size:.1f} MiB to download, and over {most:g} the target takes 8 bits"

    def _race(self, best: Result) -> Result:
        """Hold the target's other schemes against the best, and say which is to be shipped.

        Unsigned weights are the same numbers, so only a measured time can speak for them. Floats
        are there to be compared with: what holds the budget in a quarter of the size is not given
        up for them.
        """
        schemes = self._shop.target.schemes
        if "u8u8" in schemes and self._ranged and best.made.rung.precision == "w8a8":
            unsigned = self._try(self._shop.unsigned(best.made))
            if unsigned is None:
                return best
            if unsigned.trial.rank() <= best.trial.rank() and unsigned.is_faster_than(best):
                best = unsigned
        if "fp32" in schemes and all(each.made.rung.precision != "fp32" for each in self.results):
            self._try(self._shop.floats())
        return best

    def rows(self, chosen: Result) -> list[dict[str, Any]]:
        """Return what the report says of every rung; of noisy integers also where noise is from."""
        rows: list[dict[str, Any]] = [
            {**each.row, "shipped": each is chosen} for each in self.results
        ]
        row = rows[self.results.index(chosen)]
        if self._shop.target.precision == "fp32" and chosen.made.rung.precision == "w8a8":
            row["why"] = "; ".join(filter(None, (row["why"], self._download())))
        sqnr_db = chosen.trial.drift.sqnr_db
        if self._ranged and chosen.made.rung.precision == "w8a8" and not sqnr_db >= QUIET_DB:
            row["noisiest_layers"] = self._shop.ranked(chosen.made)[:TOLD_LAYERS]
        for place, row in self._left_out:
            rows.insert(place, row)
        return rows

    def _cheap(self, precision: str) -> Iterator[Rung]:
        if precision == "fp32":
            yield self._shop.floats()
        elif precision == "fp16":
            yield self._shop.halves()
        elif not self._ranged:
            yield self._shop.dynamic(smooth=True)
            yield self._shop.dynamic(smooth=False)
        else:
            yield self._shop.post_training(equalised=True)
            yield self._shop.post_training(equalised=False)

    def _climb_integers(self) -> None:
        """Learn rounding, then leave layers in float, then train, while nothing holds.

        A time that could not be taken is no reason to: no rung would bring it.
        """
        if not self.results or self._holds():
            return
        start = self._best()
        blocked = without_gradient(self._shop.open(start.made).model.graph)
        if not blocked:
            self._try(self._shop.trained(start.made, "learned rounding", training.ROUNDING))
        if self._misses():
            self._leave_floats(self._best().made)
        if not self._holds() and not blocked:
            whole = [each for each in self.results if "floats" not in each.made.rung.inputs]
            best = min(whole, key=lambda each: each.trial.rank())
            name = "quantisation-aware training"
            self._try(self._shop.trained(best.made, name, training.QAT))

    def _try(self, rung: Rung) -> Result | None:
        """Make a rung and hold it against the budget; None where it fails numerically."""
        stage = f"compress {self._shop.target.name}"
        try:
            made = self._shop.make(rung)
            stage = f"try {self._shop.target.name}"
            result = self.hold(made)
        except Exception as error:
            let_stop(error)
            if rung.precision == "fp32" or not is_numerical(error):
                raise
            why = first_line(error)
            self._failed = self._failed or error
            row = {"rung": rung.name, "precision": rung.precision, "shipped": False}
            row |= {"status": "left out", "why": why}
            self._left_out.append((len(self.results) + len(self._left_out), row))
            self._shop.run.reporter.end(stage, f"{rung.name}: left out: {why}", reused=False)
            return None
        self.results.append(result)
        return result

    def litert(self) -> RungResult | None:
        """Make what LiteRT runs, and hold it against the budget; None where it cannot be made.

        It ships beside the best rung, and takes no part in the choice of that.
        """
        result = self._try(self._shop.litert())
        return None if result is None else result.made

    def hold(self, made: RungResult) -> Result:
        """Run a rung on the examples and hold it against the budget."""
        shop, recipe = self._shop, self._shop.run.recipe
        with telling(shop.run.reporter, f"try {shop.target.name}") as line:
            reference = shop.run.store.keep(self._trials.reference(), line.progress)
            kept = shop.run.keep_in(line, self._trials.of(made))
            record = kept.record
            task = task_of(recipe)
            truth = task.labels.truth(shop.fitted.manifest, self._trials.labelled)
            tried = TrialInput(
                Outputs.load(reference.file(OUTPUTS)),
                Outputs.load(kept.file(OUTPUTS)),
                truth,
                record["p90_ms"],
                record["bytes"],
                len({each.digest for each in shop.fitted.manifest.split("test")}),
                record.get("not_timed", "not the target, so not timed"),
                recipe.metric,
                recipe.seed,
            )
            trial = hold_trial(tried, recipe.budget, task)
            raced = record.get("runtimes")
            if raced and "why" not in raced:
                raced = {name: {**raced[name], **self._in(name, tried, kept)} for name in raced}
                record = {**record, "runtimes": raced}
            line.summary = f"{trial.status}: {trial.why}"
            line.summary += f"; {told_runtimes(raced)}" if raced else ""
        bounds = tuple(record["cpu_ci95"]) if record.get("cpu_ci95") else None
        row = _row(made, trial, record)
        if trial.told.row and shop.fitted.manifest.carved and recipe.fits:
            row["labelled_fitted"] = True
        return Result(made, trial, record["faster"], bounds, row)

    def _best(self) -> Result:
        return min(self.results, key=lambda each: each.trial.rank())

    def _holds(self) -> bool:
        return self._best().trial.status in ("holds", "untimed")

    def _misses(self) -> bool:
        return not self.results or self._best().trial.status == "misses"

    def _is_slower(self) -> bool:
        """Tell whether integers were measured to be slower here and no size wants them."""
        limit = self._shop.run.recipe.budget.max_size_mib
        fits = limit is None or self._shop.fitted.graph.stat().st_size / MIB <= limit
        return fits and all(each.faster is False for each in self.results)

    def _leave_floats(self, start: RungResult) -> None:
        """Leave the most sensitive layers in float, as few as do."""
        ranked = self._shop.ranked(start)
        for count in FLOAT_LAYERS:
            if count <= len(ranked) and self._misses():
                self._try(self._shop.with_floats(start, ranked[:count]))

    def _in(self, runtime: str, tried: TrialInput, kept: StageResult) -> dict[str, Any]:
        """Return what a candidate is worth in a runtime, on the examples that it ran there."""
        file = kept.file(outputs_in(runtime))
        count = min(MOST_IN_OTHERS, tried.candidate.examples)
        few = slice(count)
        there = Outputs.load(file) if file.is_file() else tried.candidate.rows(few)
        tried = replace(
            tried, reference=tried.reference.rows(few), candidate=there, truth=tried.truth[few]
        )
        recipe = self._shop.run.recipe
        trial = hold_trial(tried, recipe.budget, task_of(recipe))
        return _numbers(trial)


def _numbers(trial: Trial) -> dict[str, Any]:
    """Return how a candidate's outputs stand to the floats', and to the labels where there are."""
    drift = trial.drift
    loud = drift.non_finite or isinf(drift.sqnr_db)
    return {
        "examples": drift.n,
        "flips": drift.flips,
        "sqnr_db": None if loud else drift.sqnr_db,
        **trial.told.row,
    }


def _row(made: RungResult, trial: Trial, record: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says of a rung; what was not measured is not there."""
    row: dict[str, Any] = {
        "rung": made.rung.name,
        "precision": made.rung.precision,
        "status": trial.status,
        "why": trial.why,
        **_numbers(trial),
        "p90_ms": record["p90_ms"],
        "cpu_ratio": record.get("cpu_ratio"),
        "runtimes": record.get("runtimes"),
        "slower": record["faster"] is False,
        "not_timed": record.get("not_timed"),
        "numbers_by": record.get("numbers_by"),
        "bytes": record["bytes"],
        "seconds": round(made.kept.cost.seconds, 1),
    }
    if made.rung.file != CORE:
        row["runtime"] = LITERT[0]
    whole = {**row, **made.kept.record}
    return {key: value for key, value in whole.items() if value is not None}


def compress(
    run: Run, fitted: FittedGraph, target: TargetSpec, *, timed: bool = True
) -> CompressedGraph:
    """Climb the ladder for one target and return the best rung.

    Not `timed` where other work would be timed along: trials are then not those of a build.
    UnsupportedError where the target takes static shapes alone, and these are texts.
    """
    if target.static_shapes and not fitted.preprocessing.one_shape:
        raise UnsupportedError(
            f"{fitted.preprocessing.noun}s differ in length, and the target takes static shapes "
            "alone",
            where=f"target {target.name}",
            fix="name a target that computes on the CPU (edgetransfer targets)",
        )
    shop = Workshop.of(run, fitted, target)
    ladder = Ladder(shop, here=timed and matches_this_machine(target))
    chosen = ladder.climb(run.recipe.quant.precision)
    rung = chosen.made.rung
    facts: dict[str, Any] = {"precision": rung.precision, "rung": rung.name}
    if rung.precision == "w8a8":
        facts |= shop.facts()
        facts["scheme"]["weight"] = chosen.made.kept.record.get("weight", target.int8.weight)
    lite = ladder.litert() if "litert" in run.recipe.quant.also else None
    facts["ladder"] = ladder.rows(chosen)
    formats = {} if lite is None else {LITERT_FILE: lite.graph}
    return CompressedGraph(chosen.made.graph, chosen.made.kept.key, facts, formats)
