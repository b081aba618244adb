"""Ranks backbones for a data set by what their frozen features know of it, and what they cost here.

It does not fit a network and never sees the test set.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edgetransfer.agent.environment import cpu_model, isa_flags
from edgetransfer.backbone import sources as backbones
from edgetransfer.compress.posttraining import Calibration, quantise
from edgetransfer.data.manifest import content_of
from edgetransfer.errors import SpecError, StageError
from edgetransfer.measure.latency import summarise
from edgetransfer.pipeline.feeding import batches_through
from edgetransfer.pipeline.judging import matches_this_machine
from edgetransfer.pipeline.opening import OpenedBackbone
from edgetransfer.pipeline.probing import fit_head
from edgetransfer.pipeline.reading import read_data
from edgetransfer.pipeline.reporter import Prefixed, telling
from edgetransfer.pipeline.stage import Stage
from edgetransfer.pipeline.stopwatch import TIMED_INPUTS, input_files, take_times, variants_of
from edgetransfer.pipeline.store import scratch
from edgetransfer.spec import catalogue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.backbone.model import Source
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.stopwatch import Stopped
    from edgetransfer.pipeline.store import Kept
    from edgetransfer.spec.progress import Progress

SCHEMA = "edgetransfer.ranking/1"
SKETCHED_ON = 8
"""Calibration examples of the int8 graph that is only timed: kernels do not look at numbers."""

Row = dict[str, Any]


def rank(run: Run, manifest: Manifest, candidates: Sequence[Source]) -> dict[str, Any]:
    """Rank candidates, best cross-validated probe first.

    Args:
        run: the build; its first target says how models are run.
        manifest: the examples.
        candidates: what to rank.

    Returns:
        The record: ``candidates`` with one row each, in plain JSON types. A number that could not
        be had is not there.

    Raises:
        SpecError: a candidate cannot be opened for these examples, which is said before any of
            them is tried; or a class has one example only, so that nothing can be cross-validated.
    """
    for source in candidates:
        backbones.load(source, manifest.modality)
    rows = [_row(run, manifest, source) for source in candidates]
    rows.sort(key=lambda row: (-row["accuracy"], row["log_loss"]))
    front = pareto_front(rows)
    here = matches_this_machine(run.targets[0])
    return {
        "schema": SCHEMA,
        "target": run.targets[0].name,
        **({"timed_on": cpu_model()} if here else {}),
        "examples": len(manifest.split("train")),
        "classes": len(manifest.labels),
        "candidates": [{**row, "on_front": row["backbone"] in front} for row in rows],
    }


def _row(run: Run, manifest: Manifest, source: Source) -> Row:
    own = replace(run, source=source, reporter=Prefixed(run.reporter, source.path.name))
    opened = OpenedBackbone(own, manifest)
    kept, record = fit_head(own, manifest, opened)
    if not record["cross_validated"]:
        raise SpecError(
            "a class has one example only, so that nothing can be cross-validated",
            where=run.recipe.data.source,
            expected="at least 2 training examples of every class",
        )
    best = next(r for r in record["cross_validated"] if r["strength"] == record["strength"])
    return {
        "backbone": source.name,
        "licence": opened.card["licence"] or "not stated",
        **{key: best[key] for key in ("accuracy", "log_loss")},
        **_scores(own, manifest, opened, kept),
        **{k: opened.card[k] for k in ("parameters", "macs", "feature_dim") if opened.card[k]},
        **_costs(own, manifest, opened),
    }


def _scores(run: Run, manifest: Manifest, opened: OpenedBackbone, probe: Kept) -> Row:
    """Return LogME and the H-score of the training examples' features."""
    from edgetransfer.transfer.transferability import h_score, log_evidence

    train = manifest.split("train")
    features = opened.features(manifest)

    def make(_: Path, __: Progress) -> Row:
        rows = np.load(features.file("features.npy"))[: len(train)]
        truth = manifest.label_index(train)
        return {"logme": log_evidence(rows, truth), "h_score": h_score(rows, truth)}

    def told(scores: Mapping[str, Any]) -> str:
        return f"LogME {scores['logme']:.3f}, H-score {scores['h_score']:.3f}"

    return run.keep(Stage("transferability", {"probe": probe.key}, make, told)).record


def _costs(run: Run, manifest: Manifest, opened: OpenedBackbone) -> Row:
    """Return bytes and, where this machine is the target, times: in float, and sketched in int8."""
    target = run.targets[0]
    here = matches_this_machine(target)
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
                files = input_files(opened.prepare, train, room)
                variants = variants_of(models, files, target, run.recipe.threads)
                found |= _times(take_times(variants, room))
        return found

    found = run.keep(Stage("cost", inputs, make, _told_cost)).record
    fastest = _fastest(found)
    return {**found, **({} if fastest is None else {"p90_ms": fastest})}


def _times(stopped: Stopped) -> Row:
    """Return the times by which models are ranked: none where they are not valid."""
    if stopped.violations:
        return {"not_timed": "; ".join(stopped.violations)}
    found: Row = {}
    for name, samples in stopped.samples.items():
        times = summarise(samples)
        found |= {f"{name}_p50_ms": times.p50_ms, f"{name}_p90_ms": times.p90_ms}
    return found


def _models(run: Run, manifest: Manifest, opened: OpenedBackbone, room: Path) -> dict[str, Path]:
    """Return the feature graph in float and, for pictures that have one, roughly in int8."""
    graph = opened.kept.file("features.onnx")
    models = {"float": graph}
    if manifest.modality != "image" or run.targets[0].precision != "w8a8":
        return models
    few = manifest.split("train")[:SKETCHED_ON]
    batches = batches_through(opened.prepare, few)
    recipe = catalogue.calibration_recipe(run.recipe.quant.calibration)
    (room / "sweep").mkdir()
    calibration = Calibration(batches, batches, room / "sweep")
    try:
        sketch = quantise(
            onnx.load(graph), run.targets[0].int8, recipe, calibration, equalised=False
        )
    except StageError:  # no layer of it runs in integers: floats are shipped
        return models
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


def pareto_front(rows: Sequence[Row]) -> set[str]:
    """Name the rows that no other beats or equals in both accuracy and time, and beats in one."""
    timed = [row for row in rows if "p90_ms" in row]
    return {
        row["backbone"]
        for row in timed
        if not any(
            other["accuracy"] >= row["accuracy"]
            and other["p90_ms"] <= row["p90_ms"]
            and (other["accuracy"], -other["p90_ms"]) != (row["accuracy"], -row["p90_ms"])
            for other in timed
        )
    }


def pick(ranked: Mapping[str, Any], max_latency_ms: float | None) -> tuple[Row, str]:
    """Choose the first row that meets a latency budget, and say why.

    Raises:
        SpecError: none meets it; the fastest is named.
    """
    rows: list[Row] = ranked["candidates"]
    timed = "timed_on" in ranked and max_latency_ms is not None
    fit = [row for row in rows if not timed or row["p90_ms"] <= max_latency_ms]
    if not fit:
        fastest = min(rows, key=lambda row: float(row["p90_ms"]))
        raise SpecError(
            "no candidate is fast enough on this machine",
            where="--backbone auto",
            found=f"the fastest is {fastest['backbone']}: p90 {fastest['p90_ms']:.2f} ms",
            expected=f"at most {max_latency_ms:g} ms (--max-latency-ms)",
            fix="add a smaller --candidate, or allow more time",
        )
    best, judged = fit[0], ""
    if timed:
        judged = f" of {len(fit)} within {max_latency_ms:g} ms (p90 {best['p90_ms']:.2f} ms here)"
    elif max_latency_ms is not None:
        judged = ", whatever its latency: this machine is not the target"
    why = (
        f"{best['backbone']} was chosen from {len(rows)} candidates: the best cross-validated "
        f"probe{judged}, accuracy {best['accuracy']:.3f}, log loss {best['log_loss']:.3f}"
    )
    return best, why


def candidates_of(names: Sequence[str], option: str = "--candidate") -> tuple[Source, ...]:
    """Find the files of candidates; all built-in backbones where none is named.

    Args:
        names: as the user wrote them.
        option: after which they stood.

    Raises:
        EdgeTransferError: what goes wrong with a backbone goes wrong with a candidate.
    """
    every = names or [f"builtin:{name}" for name in backbones.builtin_names()]
    return tuple(backbones.locate(name, option=option) for name in dict.fromkeys(every))


def choose(run: Run) -> Run:
    """Return the build with the backbone that it asked to be chosen, and why; others as they are.

    Raises:
        SpecError: no candidate meets the latency budget.
    """
    if not run.candidates:
        return run
    ranked = rank(run, read_data(run), run.candidates)
    row, why = pick(ranked, run.recipe.budget.max_latency_ms)
    with telling(run.reporter, "choice") as line:
        line.summary = why
    source = next(each for each in run.candidates if each.name == row["backbone"])
    return replace(run, source=source, choice={**ranked, "why": why})
