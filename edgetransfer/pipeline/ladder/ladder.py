"""The compression ladder: cheap rungs first, dearer ones only while the budget does not hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.compress import training
from edgetransfer.compress.execution import without_gradient
from edgetransfer.compress.posttraining import fit_again
from edgetransfer.compress.training import QuantisedTraining, rank_layers
from edgetransfer.data.manifest import content_of
from edgetransfer.errors import first_line, is_numerical, let_stop
from edgetransfer.pipeline.ladder.batches import batches_of, shuffled
from edgetransfer.pipeline.ladder.rungs import Rung, RungResult, Workshop
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.pipeline.task import task_of
from edgetransfer.spec.outside import MIB

if TYPE_CHECKING:
    from edgetransfer.pipeline.ladder.trials import Result, RungJudge
    from edgetransfer.spec.progress import Progress
    from edgetransfer.spec.words import PrecisionChoice

QUIET_DB = 20.0
"""Integers noisier than this have their noisiest layers named."""
TOLD_LAYERS = 3
RANKED_EXAMPLES = 16
"""Examples that the layers' noise is measured on."""
FLOAT_LAYERS = (1, 2, 4, 8)
"""How many of the most sensitive layers are left in float, one try after the other."""


class Ladder:
    """Climbs for one target.

    A rung that fails numerically is left out, with its reason in the report; floats are not.
    """

    def __init__(self, workshop: Workshop, judge: RungJudge) -> None:
        self._shop = workshop
        self._judge = judge
        self.results: list[Result] = []
        self._left_out: list[tuple[int, dict[str, Any]]] = []
        self._failed: Exception | None = None

    def climb(self, asked: PrecisionChoice) -> Result:
        """Try rungs until one holds the budget, and return the best.

        Args:
            asked: ``auto`` begins with the target's precision and ends with floats where nothing
                else holds; any other word keeps to that precision.

        Raises:
            NumericalError: no rung of the precision asked for could be made, as ONNX Runtime's own.
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
                self._try(self._shop.floats())
                return self._fastest()
            if self._shop.fitted.preprocessing.one_shape and not smaller:
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
        ranged = self._shop.fitted.preprocessing.one_shape
        if "u8u8" in schemes and ranged and best.made.rung.precision == "w8a8":
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
        rows: list[dict[str, Any]]
        rows = [{**each.row, "shipped": each is chosen} for each in self.results]
        row = rows[self.results.index(chosen)]
        row |= self._judge.race(chosen.made)
        if self._shop.target.precision == "fp32" and chosen.made.rung.precision == "w8a8":
            row["why"] = "; ".join(filter(None, (row["why"], self._download())))
        sqnr_db = chosen.trial.drift.sqnr_db
        ranged = self._shop.fitted.preprocessing.one_shape
        if ranged and chosen.made.rung.precision == "w8a8" and not sqnr_db >= QUIET_DB:
            ranked = self._ranked(chosen.made)
            row["noisiest_layers"] = [name for name, _ in ranked[:TOLD_LAYERS]]
        for place, row in self._left_out:
            rows.insert(place, row)
        return rows

    def _cheap(self, precision: str) -> Iterator[Rung]:
        if precision == "fp32":
            yield self._shop.floats()
        elif precision == "fp16":
            yield self._shop.halves()
        elif not self._shop.fitted.preprocessing.one_shape:
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
            self._try(self._trained(self._best(), "learned rounding", training.ROUNDING))
        if not self._holds() and self._misses():
            self._leave_floats(self._best())
        if not self._holds() and not blocked:
            whole = [each for each in self.results if "floats" not in each.made.rung.inputs]
            best = min(whole, key=lambda each: each.trial.rank())
            self._try(self._trained(best, "quantisation-aware training", training.QAT))

    def _try(self, rung: Rung) -> Result | None:
        """Make a rung and hold it against the budget; None where it fails numerically."""
        stage = f"compress {self._shop.target.name}"
        try:
            made = self._shop.make(rung)
            stage = f"try {self._shop.target.name}"
            result = self._judge.hold(made)
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

    def _fastest(self) -> Result:
        """Return the float rung, which came last, unless it misses what integers hold."""
        chosen = self.results[-1]
        return chosen if chosen.trial.status != "misses" else self._best()

    def _trained(self, start: Result, name: str, course: QuantisedTraining) -> Rung:
        """Train the integers of a rung towards the float network, without labels."""
        shop = self._shop
        course = replace(course, shift_invariant=task_of(shop.run.recipe).shift_invariant)
        examples = (*shop.fitted.manifest.split("train"), *shop.fitted.unlabelled)

        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            quantised = shop.open(start.made)
            encoding, losses = training.train(
                quantised.model.graph,
                quantised.layout,
                quantised.encoding,
                shuffled(shop.fitted, examples, shop.run.recipe.seed),
                course,
                progress=progress,
            )
            record = shop.leave(folder, replace(quantised, encoding=encoding))
            tenth = max(1, len(losses) // 10)
            return record | {
                "steps": len(losses),
                "noise_before": float(np.mean(losses[:tenth])),
                "noise_after": float(np.mean(losses[-tenth:])),
            }

        inputs = {"from": start.made.kept.key, "course": course.settings()}
        return Rung(name, "w8a8", inputs | {"trained_on": content_of(examples)}, make)

    def _leave_floats(self, start: Result) -> None:
        """Leave the most sensitive layers in float, as few as do."""
        ranked = self._ranked(start.made)
        for count in FLOAT_LAYERS:
            if count > len(ranked):
                return
            self._try(self._with_floats(start, [name for name, _ in ranked[:count]]))
            if not self._misses():
                return

    def _ranked(self, made: RungResult) -> list[tuple[str, float]]:
        shop = self._shop
        examples = shop.examples[:RANKED_EXAMPLES]
        free = task_of(shop.run.recipe).shift_invariant

        def make(_: Path, progress: Progress) -> dict[str, Any]:
            batches = batches_of(shop.fitted, examples)()
            ranked = rank_layers(shop.open(made), batches, progress, shift_invariant=free)
            return {"layers": ranked}

        told = "most of the noise from {layers[0][0]}".format_map
        stage = Stage("sensitivity", {"rung": made.kept.key}, make, told)
        kept = shop.run.keep(stage, f"sensitivity {shop.target.name}")
        layers: list[tuple[str, float]] = kept.record["layers"]
        return layers

    def _with_floats(self, start: Result, names: list[str]) -> Rung:
        def make(folder: Path, progress: Progress) -> dict[str, Any]:
            quantised = self._shop.open(start.made).keeping_float(set(names))
            with scratch(folder) as room:
                quantised = fit_again(quantised, self._shop.calibration(room), progress)
            return self._shop.leave(folder, quantised)

        plural = "layer" if len(names) == 1 else "layers"
        inputs = {"from": start.made.kept.key, "floats": names}
        return Rung(f"{len(names)} more {plural} in float", "w8a8", inputs, make)
