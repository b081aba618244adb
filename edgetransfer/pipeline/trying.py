"""Tries a rung on validation and unlabelled examples, and on the clock where this is the target.

It does not touch the test set.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.agent.environment import cpu_model, isa_flags
from edgetransfer.data.manifest import content_of
from edgetransfer.export.onnx_bundle import whole_model
from edgetransfer.graph.hosted import exact_here
from edgetransfer.measure.latency import speedup, summarise
from edgetransfer.measure.proportions import wilson
from edgetransfer.measure.trial import Trial, Tried, hold_trial
from edgetransfer.pipeline.previewing import Previewer
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.stage import Stage
from edgetransfer.pipeline.stopwatch import input_files, take_times, variants_of
from edgetransfer.pipeline.store import scratch
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example
    from edgetransfer.pipeline.rungs import Made, Workshop
    from edgetransfer.spec.progress import Progress


@dataclass(frozen=True)
class Result:
    """One rung with its trial.

    Attributes:
        faster: False where the runtime was measured to be slower than with floats, True where it
            was measured to be faster, None where it was not measured or does not tell.
        speed_ci95: bounds of its speed against the floats, None where it was not measured.
        row: for the report.
    """

    made: Made
    trial: Trial
    faster: bool | None
    speed_ci95: tuple[float, float] | None
    row: dict[str, Any]

    def is_faster_than(self, other: Result) -> bool:
        """Tell whether it was measured to be, beyond doubt."""
        if self.speed_ci95 is None or other.speed_ci95 is None:
            return False
        return self.speed_ci95[0] > other.speed_ci95[1]


class Judge:
    """Tries the rungs of one target.

    Args:
        workshop: what the rungs are made from.
        here: whether this machine may stand for the target, so that times are taken.
    """

    def __init__(self, workshop: Workshop, *, here: bool) -> None:
        self._shop = workshop
        self._here = here
        manifest = workshop.fitted.manifest
        self.labelled: Sequence[Example] = manifest.split("validation")
        self.examples = (*self.labelled, *workshop.fitted.unlabelled) or workshop.examples
        self._previewer = Previewer(workshop.target, workshop.fitted.preparer(), here=here)

    def hold(self, made: Made) -> Result:
        """Run a rung on the examples and hold it against the budget."""
        shop, recipe = self._shop, self._shop.run.recipe
        with telling(shop.run.reporter, f"try {shop.target.name}") as line:
            reference = shop.run.store.keep(self._reference(), line.progress)
            kept = shop.run.keep_in(line, self._trial(made))
            record = kept.record
            truth = shop.fitted.manifest.label_index(self.labelled)
            tried = Tried(
                np.load(reference.file("logits.npy")),
                np.load(kept.file("logits.npy")),
                truth,
                record["p90_ms"],
                record["bytes"],
                len(shop.fitted.manifest.split("test")),
            )
            trial = hold_trial(tried, recipe.budget, recipe.metric, recipe.seed)
            line.summary = f"{trial.status}: {trial.why}"
        low_high = record.get("cpu_ci95")
        bounds = None if low_high is None else (low_high[0], low_high[1])
        return Result(made, trial, record["faster"], bounds, _row(made, trial, record))

    def _trial(self, made: Made) -> Stage:
        """Return the stage that runs a candidate, and times it where this is the target."""
        shop = self._shop
        runtime = shop.target.runtime
        inputs = {
            "rung": made.kept.key,
            "examples": content_of(self.examples),
            "timed": [cpu_model(), platform.node(), *sorted(isa_flags())] if self._here else None,
            "session": shop.target.session.model_dump(),
            "run_here_with": exact_here(),
            "preview": self._previewer.state(),
            "runtime": None if runtime is None else runtime.model_dump(),
            "threads": shop.run.recipe.threads,
        }

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            return self._measure(made, folder, progress)

        return Stage("trial", inputs, make)

    def _reference(self) -> Stage:
        """Return the stage that asks the float graph for its decisions."""
        fitted = self._shop.fitted

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            self._decide(onnx.load(fitted.graph), folder, progress)
            return {"examples": len(self.examples)}

        inputs = {"float": fitted.key, "examples": content_of(self.examples)}
        return Stage("reference", inputs, make)

    def _decide(self, graph: onnx.ModelProto, folder: Path, progress: Progress) -> None:
        """Keep the logits of each example by itself, as the device will run it.

        Texts of a batch would share the scales that 8-bit activations get as they come.
        """
        prepare = self._shop.fitted.preparer()
        logits = run_over(graph, prepare, self.examples, batch_size=1, progress=progress)
        np.save(folder / "logits", logits)

    def _measure(self, made: Made, folder: Path, progress: Progress) -> dict[str, Any]:
        core = onnx.load(made.graph)
        whole = whole_model(core, self._shop.fitted.preprocessing)
        record: dict[str, Any] = {"bytes": whole.ByteSize(), "p90_ms": None, "faster": None}
        self._decide(core, folder, progress)
        if self._previewer.on:
            with scratch(folder) as room:
                host = np.load(folder / "logits.npy")
                numbers = self._previewer.numbers(made.graph, self.examples, host, room)
            np.save(folder / "logits", numbers.logits)
            record["numbers_by"] = numbers.by
        if self._here:
            with scratch(folder) as room:
                record |= self._time(made, room)
        return record

    def _time(self, made: Made, room: Path) -> dict[str, Any]:
        """Time the candidate against the float graph in fresh processes."""
        shop = self._shop
        files = input_files(shop.fitted.preparer(), self.examples, room)
        models = {"reference": shop.fitted.graph, "candidate": made.graph}
        variants = variants_of(models, files, shop.target, shop.run.recipe.threads)
        stopped = take_times(variants, room)
        if stopped.violations:
            return {"not_timed": "; ".join(stopped.violations)}
        samples = stopped.samples
        ratio = speedup(samples["reference"], samples["candidate"]).cpu
        return {
            "p90_ms": summarise(samples["candidate"]).p90_ms,
            "cpu_ratio": ratio.ratio,
            "cpu_ci95": ratio.ci95,
            "faster": {"FASTER": True, "SLOWER": False}.get(ratio.speed),
        }


def _row(made: Made, trial: Trial, record: dict[str, Any]) -> dict[str, Any]:
    """Return what the report says of a rung; what was not measured is not there."""
    drift, comparison = trial.drift, trial.comparison
    row: dict[str, Any] = {
        "rung": made.rung.name,
        "precision": made.rung.precision,
        "status": trial.status,
        "why": trial.why,
        "examples": drift.n,
        "flips": drift.flips,
        "sqnr_db": None if drift.non_finite or np.isinf(drift.sqnr_db) else drift.sqnr_db,
        "p90_ms": record["p90_ms"],
        "cpu_ratio": record.get("cpu_ratio"),
        "slower": record["faster"] is False,
        "not_timed": record.get("not_timed"),
        "numbers_by": record.get("numbers_by"),
        "bytes": record["bytes"],
        "seconds": round(made.kept.seconds, 1),
    }
    if comparison is not None:
        right = round(comparison.candidate * comparison.n)
        interval = wilson(right, comparison.n) if comparison.metric == "top1" else None
        row |= {
            "accuracy": comparison.candidate,
            "accuracy_ci95": interval,
            "delta_pp": comparison.delta_pp,
        }
    return {key: value for key, value in {**row, **made.record}.items() if value is not None}
