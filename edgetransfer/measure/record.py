"""Writes a measurement and what was found in it as the `report.json` of docs/report.md."""

from __future__ import annotations

from dataclasses import asdict, fields
from math import isinf, isnan
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.drift import measure_drift
from edgetransfer.measure.measurement import TrialInput
from edgetransfer.measure.plain import Missing, decibels, or_missing, plain
from edgetransfer.measure.speed.latency import LatencySummary, Ratio
from edgetransfer.measure.stats.intervals import early_stopping_needed, samples_needed
from edgetransfer.measure.verdict import SeriesFindings, examine, judge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.measure.drift import Drift
    from edgetransfer.measure.gates import Gate
    from edgetransfer.measure.measurement import Measurement

Tree = dict[str, Any]
NOT_TIMED = Missing("not timed in this run")
NO_CPU_TIME = Missing("no CPU time is told there, or by a clock too coarse for these models")
_SUMMARY = tuple(each.name for each in fields(LatencySummary))
_SPEEDUP = ("ratio", "ci95", "class", "cpu_ratio", "cpu_ci95", "cpu_class", "blocks")


def written_series(series: SeriesFindings | None) -> Tree:
    """Return the series; where it was not timed, nulls with that reason."""
    if series is None:
        return {
            "reference": dict.fromkeys(_SUMMARY, NOT_TIMED),
            "candidate": dict.fromkeys(_SUMMARY, NOT_TIMED),
            "speedup": dict.fromkeys(_SPEEDUP, NOT_TIMED),
            "histogram": NOT_TIMED,
        }
    return {
        "reference": _summary(series.reference),
        "candidate": _summary(series.candidate),
        "speedup": {
            **_ratio(series.speedup.wall, ""),
            **_cpu_ratio(series),
            "blocks": series.speedup.blocks,
        },
        "histogram": asdict(series.histogram),
    }


def _summary(summary: LatencySummary) -> Tree:
    reasons = {
        f"{name}_ci95_ms": f"needs {samples_needed(p)} samples, there are {summary.n}"
        for name, p in (("p50", 0.5), ("p90", 0.9), ("cpu_p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
    reasons |= {f"{name}_ms": reasons[f"{name}_ci95_ms"] for name in ("p95", "p99")}
    needed = early_stopping_needed(0.9)
    reasons["es_p90_ms"] = f"needs {needed} samples, there are {summary.n}"
    reasons["between_process_cv"] = "times of one process"
    values = asdict(summary)
    if summary.cpu_p50_ms == 0:
        values |= dict.fromkeys(("cpu_p50_ms", "cpu_p50_ci95_ms"), NO_CPU_TIME)
    return {key: or_missing(values[key], reasons.get(key, "")) for key in _SUMMARY}


def _cpu_ratio(series: SeriesFindings) -> Tree:
    if 0 in (series.reference.cpu_p50_ms, series.candidate.cpu_p50_ms):
        return dict.fromkeys(("cpu_ratio", "cpu_ci95", "cpu_class"), NO_CPU_TIME)
    return _ratio(series.speedup.cpu, "cpu_")


def _ratio(ratio: Ratio, prefix: str) -> Tree:
    return {
        f"{prefix}ratio": or_missing(ratio.ratio, ratio.reason),
        f"{prefix}ci95": or_missing(ratio.ci95, ratio.reason),
        f"{prefix}class": ratio.speed,
    }


SCHEMA = "edgetransfer.report/2"
OLDER_AGENT = "the agent in the bundle is older than the protocol"
NOT_LOOKED_AT = Missing("the runtime's graph was not looked at")
_BLOCKS = ("soundness", "adaptation", "labelling", "choice")


def make_report(raw: Measurement) -> dict[str, Any]:
    """Examine and judge a measurement and write it all down in plain JSON types.

    Every null in the result has its path in `unavailable`, with the reason. StageError where the
    reference's outputs are not finite.
    """
    found = examine(raw)
    verdict, judged = judge(found), dict(found.judged.written())
    numeric = judged.pop("numeric", {})
    tree, unavailable = plain(
        {
            "schema": SCHEMA,
            "protocol": or_missing(raw.environment.get("protocol"), OLDER_AGENT),
            "task": raw.task.name,
            "target": raw.target,
            "verdict": verdict.name,
            "reasons": verdict.reasons,
            "gates": [_gate(gate) for gate in verdict.gates],
            **_evidence(raw),
            "validity": raw.validity,
            "environment": raw.environment,
            "budget": {k: or_missing(v, "no limit was set") for k, v in raw.budget},
            "precision": raw.precision,
            "seed": raw.seed,
            "labels": raw.labels,
            **judged,
            "agreement": {
                "n": found.drift.n,
                "rate": found.drift.agreement,
                "flips": found.drift.flips,
                "flip_rate_ucb95": found.drift.flip_rate_ucb95,
            },
            "numeric": {**_numeric(found.drift), **numeric},
            "latency": written_series(found.core),
            "end_to_end": written_series(found.end_to_end),
            "memory": raw.memory,
            "load": raw.load,
            "size": {
                "reference_bytes": raw.reference_bytes,
                "candidate_bytes": raw.candidate_bytes,
            },
            **({"host_agreement": found.agreement.written()} if found.agreement else {}),
            "residency": raw.residency
            or dict.fromkeys(("float_conv", "int8_conv", "float_ops"), NOT_LOOKED_AT),
            "ladder": raw.ladder,
            **({"formats": [*_formats(raw)]} if raw.formats else {}),
            **{key: block for key in _BLOCKS if (block := getattr(raw, key)) is not None},
        }
    )
    return {**tree, "unavailable": unavailable}


def _evidence(raw: Measurement) -> Tree:
    """How many examples count and why the others do not, and what the build recorded."""
    sample = {} if raw.sample is None else asdict(raw.sample)
    if not sample.get("capped"):
        sample.pop("capped", None)
    return {
        **({"examples": sample} if sample else {}),
        "notes": raw.notes,
        **({} if raw.recorded is None else {"recorded": raw.recorded}),
        **({"identical": True} if raw.identical else {}),
    }


def _formats(raw: Measurement) -> Iterator[Tree]:
    """Yield how the network for each other runtime stands to the floats, and to the labels."""
    truth = np.empty(0, int) if raw.truth is None else raw.truth
    for name, found in raw.formats.items():
        drift = measure_drift(raw.reference, found, raw.task)
        row = {"runtime": name, "examples": drift.n, "flips": drift.flips}
        row["sqnr_db"] = _numeric(drift)["sqnr_db"]
        if not drift.non_finite:
            one = TrialInput(
                raw.reference, found, truth, None, 0, drift.n, metric=raw.metric, seed=raw.seed
            )
            row |= raw.task.hold(one, raw.budget, drift).row
        yield row


def _numeric(drift: Drift) -> Tree:
    broken = Missing(f"{drift.non_finite} of the shipped model's outputs are NaN or Inf")
    values = {"sqnr_db": decibels(drift.sqnr_db), "cosine_mean": drift.cosine_mean}
    kept = {k: broken if isinstance(v, float) and isnan(v) else v for k, v in values.items()}
    several = {name: decibels(value) for name, value in drift.by_output.items()}
    more = {"sqnr_db_by_output": several} if len(several) > 1 else {}
    return {**kept, "non_finite": drift.non_finite, **more}


def _gate(gate: Gate) -> Tree:
    row = {"code": gate.code, **asdict(gate)}
    if isinstance(gate.measured, float) and isinf(gate.measured):
        row["measured"] = decibels(gate.measured)
    for key in ("measured", "limit"):
        if row[key] is None:
            row[key] = Missing(gate.message)
    absent = ("code", "examples_needed", "fewest_examples")
    return {key: value for key, value in row.items() if key not in absent or value}
