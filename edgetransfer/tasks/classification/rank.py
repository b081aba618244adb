"""Ranks backbones for a data set by what frozen features know of it, and by their cost here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.agent.environment import cpu_model
from edgetransfer.backbone import sources as backbones
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.bench.target_match import matches_this_machine
from edgetransfer.pipeline.fit.backbone import OpenedBackbone
from edgetransfer.pipeline.fit.data import read_data
from edgetransfer.pipeline.stage.reporter import Prefixed, telling
from edgetransfer.tasks.classification.checks.transferability import transferability
from edgetransfer.tasks.classification.cost import cost
from edgetransfer.tasks.classification.fit.probe import HELD_OUT, fit_head
from edgetransfer.tasks.classification.head.probe import held
from edgetransfer.tasks.classification.judge.metrics import METRICS

if TYPE_CHECKING:
    from edgetransfer.backbone.model import Source
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.pipeline.stage.run import Run

SCHEMA = "edgetransfer.ranking/1"
Row = dict[str, Any]


def rank(run: Run, manifest: Manifest, candidates: Sequence[Source]) -> dict[str, Any]:
    """Rank candidates, best cross-validated probe by the metric first, of equals the cheaper.

    The first target of the build says how models are run.

    The record: ``candidates`` with one row each, in plain JSON types. A number that could not
    be had is not there.

    Raises:
        SpecError: a candidate cannot be opened for these examples, which is said before any of
            them is tried; or a class has one example only, so that nothing can be cross-validated.
    """
    for source in candidates:
        backbones.load(source, manifest.modality)
    rows = [_row(run, manifest, source) for source in candidates]
    rows.sort(key=lambda row: (-row["accuracy"], _cost(row)))
    front = pareto_front(rows)
    here = matches_this_machine(run.targets[0])
    return {
        "schema": SCHEMA,
        "target": run.targets[0].name,
        **({"timed_on": cpu_model()} if here else {}),
        "metric": run.recipe.metric,
        "examples": len(manifest.fitted),
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
    truth = manifest.label_index(manifest.fitted)
    said = np.load(kept.file(HELD_OUT))[: len(truth)]
    return {
        "backbone": source.name,
        "licence": opened.card["licence"] or "not stated",
        "accuracy": METRICS[run.recipe.metric](*held(said, truth), said.shape[1]),
        "log_loss": best["log_loss"],
        **transferability(own, manifest, opened, kept),
        **{k: opened.card[k] for k in ("parameters", "macs", "feature_dim") if opened.card[k]},
        **cost(own, manifest, opened, here=matches_this_machine(run.targets[0])),
    }


def _cost(row: Row) -> tuple[float, float]:
    """Return what tells the cheaper of two that are as good: time where it was taken, then size."""
    return row.get("p90_ms", float("inf")), row.get("macs") or row.get("parameters", float("inf"))


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

    A row whose times are not valid does not meet one, as long as another's are.

    Raises:
        SpecError: none meets it; the fastest is named.
    """
    rows: list[Row] = ranked["candidates"]
    known = [row for row in rows if "timed_on" in ranked and "p90_ms" in row]
    fit = rows
    if known and max_latency_ms is not None:
        fit = [row for row in known if row["p90_ms"] <= max_latency_ms]
    if not fit:
        fastest = min(known, key=lambda row: float(row["p90_ms"]))
        raise SpecError(
            "no candidate is fast enough on this machine",
            where="--backbone auto",
            found=f"the fastest is {fastest['backbone']}: p90 {fastest['p90_ms']:.2f} ms",
            expected=f"at most {max_latency_ms:g} ms (--max-latency-ms)",
            fix="add a smaller --candidate, or allow more time",
        )
    best, judged = fit[0], ""
    if known and max_latency_ms is not None:
        judged = f" of {len(fit)} within {max_latency_ms:g} ms (p90 {best['p90_ms']:.2f} ms here)"
    elif max_latency_ms is not None:
        untimed = "this machine is not the target"
        if "timed_on" in ranked:
            untimed = f"no time was valid ({best.get('not_timed', 'not timed')})"
        judged = f", whatever its latency: {untimed}"
    why = (
        f"{best['backbone']} was chosen from {len(rows)} candidates: the best cross-validated "
        f"probe{judged}, {ranked.get('metric', 'top1')} {best['accuracy']:.3f}"
    )
    return best, why


def choose(run: Run) -> Run:
    """Return the build with the backbone that it asked to be chosen, and why.

    Raises:
        SpecError: no candidate meets the latency budget.
    """
    ranked = rank(run, read_data(run), run.candidates)
    row, why = pick(ranked, run.recipe.budget.max_latency_ms)
    with telling(run.reporter, "choice") as line:
        line.summary = why
    source = next(each for each in run.candidates if each.name == row["backbone"])
    return replace(run, source=source, choice={**ranked, "why": why})
