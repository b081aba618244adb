"""Holds the outputs against the float model's, whatever the labels: G3 without accuracy."""

from __future__ import annotations

from math import inf, isnan
from typing import TYPE_CHECKING

from edgetransfer.measure.gates.gate import (
    Gate,
    Status,
    against,
    apart,
    held,
    more,
    not_run,
    number,
)
from edgetransfer.measure.stats.intervals import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    smallest_n,
)

if TYPE_CHECKING:
    from edgetransfer.measure.drift import Drift

BROKEN = "not defined with NaN or Inf among the outputs"


def finite(drift: Drift, total: int) -> Gate:
    """FAIL where the candidate gives a NaN or an infinity among its `total` outputs."""
    count = drift.non_finite
    told = f"{count} of {total} outputs are NaN or Inf"
    return held("finite", not count, told, (count, 0, "outputs"))


def flips(drift: Drift, max_flips_pct: float, *, named: bool = True) -> Gate:
    """Holds the bounds of the rate of changed decisions against the limit."""
    n, count, limit = drift.n, drift.flips, max_flips_pct / 100
    upper, lower = drift.flip_rate_ucb95, drift.flip_rate_lcb95
    allowed = against(f"{number(max_flips_pct)} %", named=named)
    tail = f"(95 % bound {apart(100 * upper, max_flips_pct)} %){allowed}"
    status: Status = "PASS"
    needed = None
    if lower > limit:
        status = "FAIL"
        tail = f"(95 % sure of over {apart(100 * lower, max_flips_pct)} %){allowed}"
    elif upper >= limit:
        status = "INCONCLUSIVE"
        needed = flips_needed(count / n, limit)
        tail = f"{tail}; {more(needed, n, 'this rate')}"
    told = f"{count} of {n} decisions changed {tail}"
    numbers, examples = (100 * upper, max_flips_pct, "%"), (needed, flips_needed(0.0, limit))
    return held("flips", status, told, numbers, decides=named, examples=examples)


def sqnr(drift: Drift, min_sqnr_db: float, *, named: bool = True) -> Gate:
    """Holds the signal to quantisation noise ratio of the outputs against the limit."""
    limit, value = f"{number(min_sqnr_db)} dB", drift.sqnr_db
    wanted = f", at least {limit} demanded" if named else f", where at least {limit} is usual"
    if isnan(value):
        if not named:
            return not_run("sqnr", BROKEN, decides=False)
        told = BROKEN
    elif value == inf:
        told = "the outputs are identical"
    else:
        told = f"{apart(value, min_sqnr_db)} dB"
    numbers = None if isnan(value) else value, min_sqnr_db, "dB"
    return held("sqnr", value >= min_sqnr_db, f"{told}{wanted}", numbers, decides=named)


def flips_needed(rate: float, limit: float) -> int | None:
    """Examples that would decide whether a flip rate is under a limit, both fractions.

    Without a flip it is ceil(ln 0.05 / ln(1 - limit)):

    >>> flips_needed(0.0, 0.02), flips_needed(0.0, 0.01), flips_needed(0.0, 0.005)
    (149, 299, 598)
    >>> flips_needed(0.02, 0.02) is None
    True
    """
    if rate < limit:
        return smallest_n(lambda n: clopper_pearson_upper(rate * n, n) < limit)
    if rate == limit:
        return None
    return smallest_n(lambda n: clopper_pearson_lower(rate * n, n) > limit)
