"""Writes one timed series as `report.json` has it: both variants, their ratio, a histogram.

It does not compute a statistic; `latency` does.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgetransfer.measure.plain import Missing, or_missing
from edgetransfer.measure.quantiles import early_stopping_needed, samples_needed

if TYPE_CHECKING:
    from edgetransfer.measure.findings import SeriesFindings
    from edgetransfer.measure.latency import LatencySummary, Ratio

Tree = dict[str, Any]

NOT_TIMED = Missing("not timed in this run")
NO_CPU_TIME = Missing("no CPU time is told there, or by a clock too coarse for these models")
_SUMMARY = (
    *("n", "processes", "p50_ms", "p50_ci95_ms", "p90_ms", "p90_ci95_ms"),
    *("cpu_p50_ms", "cpu_p50_ci95_ms", "mean_ms", "max_ms", "process_p50_ms"),
    *("es_p90_ms", "p95_ms", "p95_ci95_ms", "p99_ms", "p99_ci95_ms", "mad_ms", "rel_iqr"),
    *("between_process_cv", "throughput_per_s", "cpu_utilisation", "outliers", "far_outliers"),
)
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
