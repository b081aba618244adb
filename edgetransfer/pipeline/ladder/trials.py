"""Tries a rung on validation and unlabelled examples, and on the clock where this is the target."""

from __future__ import annotations

from dataclasses import dataclass
from math import isinf
from typing import TYPE_CHECKING, Any

from edgetransfer.agent.outputs import Outputs
from edgetransfer.measure.measurement import TrialInput
from edgetransfer.measure.trial import Trial, hold_trial
from edgetransfer.pipeline.ladder.trial import OUTPUTS, Trials
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.task import task_of

if TYPE_CHECKING:
    from edgetransfer.pipeline.ladder.rungs import RungResult, Workshop


@dataclass(frozen=True)
class Result:
    """One rung with its trial.

    Attributes:
        faster: False where the runtime was measured to be slower than with floats, True where it
            was measured to be faster, None where it was not measured or does not tell.
        speed_ci95: bounds of its speed against the floats, None where it was not measured.
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


class RungJudge:
    """Tries the rungs of one target; `here` where this machine may stand for it, and times."""

    def __init__(self, workshop: Workshop, *, here: bool) -> None:
        self._shop = workshop
        self._trials = Trials(workshop, here=here)

    def race(self, made: RungResult) -> dict[str, Any]:
        """Return what the runtimes of this processor take for a rung; nothing where one is all."""
        stage, run = self._trials.race(made), self._shop.run
        if stage is None:
            return {}
        return {"runtimes": run.keep(stage, f"runtimes {self._shop.target.name}").record}

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
            line.summary = f"{trial.status}: {trial.why}"
        bounds = tuple(record["cpu_ci95"]) if record.get("cpu_ci95") else None
        row = _row(made, trial, record)
        if trial.told.row and shop.fitted.manifest.carved and recipe.fits:
            row["labelled_fitted"] = True
        return Result(made, trial, record["faster"], bounds, row)


def _row(made: RungResult, trial: Trial, record: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says of a rung; what was not measured is not there."""
    drift = trial.drift
    row: dict[str, Any] = {
        "rung": made.rung.name,
        "precision": made.rung.precision,
        "status": trial.status,
        "why": trial.why,
        "examples": drift.n,
        "flips": drift.flips,
        "sqnr_db": None if drift.non_finite or isinf(drift.sqnr_db) else drift.sqnr_db,
        "p90_ms": record["p90_ms"],
        "cpu_ratio": record.get("cpu_ratio"),
        "slower": record["faster"] is False,
        "not_timed": record.get("not_timed"),
        "numbers_by": record.get("numbers_by"),
        "bytes": record["bytes"],
        "seconds": round(made.kept.cost.seconds, 1),
    }
    whole = {**row, **trial.told.row, **made.record}
    return {key: value for key, value in whole.items() if value is not None}
