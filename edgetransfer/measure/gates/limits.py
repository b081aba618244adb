"""Holds latency and size against the limits of the budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgetransfer.measure.gates.gate import Gate, Status, apart, held, number
from edgetransfer.measure.stats.quantiles import samples_needed

if TYPE_CHECKING:
    from edgetransfer.measure.speed.latency import LatencySummary

MIB = 2**20


def latency(
    summary: LatencySummary | None, max_latency_ms: float, invalid: Sequence[str] = ()
) -> Gate:
    """Holds the interval of the 90th percentile against the limit.

    It is that of core.onnx; without times, or valid ones, the gate is open.
    """
    limit = f"of {number(max_latency_ms)} ms allowed"
    measured = None if summary is None else summary.p90_ms
    status: Status = "INCONCLUSIVE"
    if summary is None:
        message = f"not measured, {limit}"
    elif invalid:
        message = f"p90 {summary.p90_ms:.2f} ms {limit}, but not valid: {'; '.join(invalid)}"
    elif summary.p90_ci95_ms is None:
        need = f"its interval needs {samples_needed(0.9)} samples, there are {summary.n}"
        message = f"p90 {summary.p90_ms:.2f} ms {limit}; {need}"
    else:
        low, high = summary.p90_ci95_ms
        if high < max_latency_ms:
            status = "PASS"
        elif low > max_latency_ms:
            status = "FAIL"
        message = f"p90 {summary.p90_ms:.2f} ms [{low:.2f}, {high:.2f}] {limit}"
    return held("latency", status, message, (measured, max_latency_ms, "ms"))


def size(candidate_bytes: int, max_size_mib: float) -> Gate:
    """Holds the exact size of model.onnx against the limit."""
    mib = candidate_bytes / MIB
    told = f"{apart(mib, max_size_mib, 2)} MiB of {number(max_size_mib)} MiB allowed"
    return held("size", mib <= max_size_mib, told, (mib, max_size_mib, "MiB"))
