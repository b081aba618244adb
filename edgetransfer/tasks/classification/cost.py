"""The stage that says what a frozen backbone costs here: bytes, and times in float and int8."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.agent.environment import cpu_model, isa_flags
from edgetransfer.compress.posttraining import CalibrationBatches, quantise
from edgetransfer.data.manifest import Manifest, content_of
from edgetransfer.errors import is_numerical
from edgetransfer.measure.speed.latency import summarise
from edgetransfer.pipeline.bench.times import TIMED_INPUTS, input_files, take_times, variants_of
from edgetransfer.pipeline.ladder.batches import batches_through
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.pipeline.stage.store import scratch
from edgetransfer.spec import catalogue

if TYPE_CHECKING:
    from edgetransfer.pipeline.bench.times import TimedModels
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress

SKETCHED_ON = 8
"""Calibration examples of the int8 graph that is only timed: kernels do not look at numbers."""
Row = dict[str, Any]


def cost(run: Run, manifest: Manifest, opened: OpenedBackbone, *, here: bool) -> Row:
    """Return bytes and, where this machine is the target, times: in float, and sketched in int8."""
    target = run.targets[0]
    train = manifest.split("train")
    inputs = {
        "backbone": opened.kept.key,
        "scheme": target.int8.model_dump(),
        "session": target.session.model_dump(),
        "threads": run.recipe.threads,
        "timed": [cpu_model(), platform.node(), *sorted(isa_flags())] if here else None,
        "precision": target.precision,
        "runtime": None if target.runtime is None else target.runtime.model_dump(),
        "calibration": catalogue.calibration_recipe(run.recipe.quant.calibration).model_dump(),
        "examples": content_of(train[: max(SKETCHED_ON, TIMED_INPUTS)]),
    }

    def make(folder: Path, _: Progress) -> Row:
        with scratch(folder) as room:
            models = _models(run, manifest, opened, room)
            found: Row = {f"{k}_bytes": path.stat().st_size for k, path in models.items()}
            if here:
                files = input_files(opened.prepare, train[:TIMED_INPUTS], room)
                variants = variants_of(models, files, target, run.recipe.threads)
                found |= _times(take_times(variants, room))
        return found

    found = run.keep(Stage("cost", inputs, make, _told_cost)).record
    fastest = _fastest(found)
    return {**found, **({} if fastest is None else {"p90_ms": fastest})}


def _times(stopped: TimedModels) -> Row:
    """Return the times by which models are ranked: none where they are not valid."""
    if broken := stopped.violations():
        return {"not_timed": "; ".join(broken)}
    found: Row = {}
    for name, samples in stopped.samples.items():
        times = summarise(samples)
        found |= {f"{name}_p50_ms": times.p50_ms, f"{name}_p90_ms": times.p90_ms}
    return found


def _models(run: Run, manifest: Manifest, opened: OpenedBackbone, room: Path) -> dict[str, Path]:
    """Return the feature graph in float and, for pictures that have one, roughly in int8."""
    graph = opened.kept.file("features.onnx")
    models = {"float": graph}
    if not manifest.input.one_shape or run.targets[0].precision != "w8a8":
        return models
    few = manifest.split("train")[:SKETCHED_ON]
    batches = batches_through(opened.prepare, few)
    recipe = catalogue.calibration_recipe(run.recipe.quant.calibration)
    (room / "sweep").mkdir()
    calibration = CalibrationBatches(batches, len(few), room / "sweep")
    try:
        sketch = quantise(
            onnx.load(graph), run.targets[0].int8, recipe, calibration, equalised=False
        )
    except Exception as error:
        if not is_numerical(error):
            raise
        return models  # no layer of it runs in integers: floats are shipped
    onnx.save(sketch.graph(), room / "int8.onnx")
    return {**models, "int8": room / "int8.onnx"}


def _fastest(costs: Mapping[str, Any]) -> float | None:
    """Return the p90 of whichever is faster: that is what a build would ship."""
    times = [costs[key] for key in ("float_p90_ms", "int8_p90_ms") if key in costs]
    return min(times, default=None)


def _told_cost(costs: Mapping[str, Any]) -> str:
    parts = []
    for name in ("float", "int8"):
        if f"{name}_bytes" in costs:
            timed = f", p90 {costs[p90]:.2f} ms" if (p90 := f"{name}_p90_ms") in costs else ""
            parts.append(f"{name} {costs[f'{name}_bytes'] / 2**20:.1f} MiB{timed}")
    return "; ".join(parts)
