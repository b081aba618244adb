"""Says how much a device slows down when it works for minutes without a rest.

It does not time anything: the agent's action `sustain` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.quantiles import quantile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STEADY_SHARE = 0.25
"""Last part of a series that is taken for what the device can keep up."""


def summarise_series(series: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the report's block `sustained` from a row a window, see `agent.sustain`.

    Cool is the first window; steady the median of the last quarter of all. What is lost is lost of
    the inferences a second: twice the time is 50 % fewer.

    >>> rows = [{"at_s": 5.0 * i, "n": 10, "p50_ms": ms} for i, ms in enumerate([8, 8, 10, 10])]
    >>> found = summarise_series(rows)
    >>> found["cool_p50_ms"], found["steady_p50_ms"], found["drop_pct"]
    (8.0, 10.0, 20.0)
    """
    medians = np.array([row["p50_ms"] for row in series], dtype=np.float64)
    last = max(1, round(STEADY_SHARE * len(medians)))
    cool, steady = float(medians[0]), quantile(medians[-last:], 0.5)
    hottest = [max(row["temperatures_c"].values()) for row in series if row.get("temperatures_c")]
    first, end = series[0].get("throttling", {}), series[-1].get("throttling", {})
    return {
        "windows": len(series),
        "inferences": sum(row["n"] for row in series),
        "cool_p50_ms": cool,
        "steady_p50_ms": steady,
        "slowest_p50_ms": float(medians.max()),
        "drop_pct": round(100 * (1 - cool / steady), 2),
        "hottest_c": max(hottest, default=None),
        "throttled_by": sorted(name for name, told in end.items() if told > first.get(name, told)),
        "series": list(series),
    }


def told(report: Mapping[str, Any]) -> Iterator[str]:
    """Say what a report found of long work and of energy, a line each.

    >>> list(told({"energy": {"candidate": {"mj_per_inference": None, "reason": "no counter"}}}))
    ['energy of the candidate: no counter']
    """
    found = report.get("sustained")
    if found is not None:
        yield (
            f"after {found['seconds']:g} s of work: p50 {found['steady_p50_ms']:.2f} ms, "
            f"{found['cool_p50_ms']:.2f} at first ({-found['drop_pct']:+.1f} % inferences a second)"
        )
    for name, row in report.get("energy", {}).items():
        joules = row["mj_per_inference"]
        what = (
            row["reason"] if joules is None else f"{joules:.2f} mJ an inference ({row['method']})"
        )
        yield f"energy of the {name}: {what}"
