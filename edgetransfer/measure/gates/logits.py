"""Holds the logits against the float model's, whatever the labels: G3 without accuracy."""

from __future__ import annotations

from math import ceil, inf, isnan
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
from edgetransfer.measure.stats.proportions import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    smallest_n,
)

if TYPE_CHECKING:
    from edgetransfer.measure.drift import Drift

BROKEN = "not defined with NaN or Inf among the logits"


def finite(drift: Drift, classes: int) -> Gate:
    """FAIL where the candidate gives a NaN or an infinity."""
    count, total = drift.non_finite, drift.n * classes
    told = f"{count} of {total} logits are NaN or Inf"
    return held("finite", not count, told, (count, 0, "logits"))


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
    """Holds the signal to quantisation noise ratio of the logits against the limit."""
    limit, value = f"{number(min_sqnr_db)} dB", drift.sqnr_db
    wanted = f", at least {limit} demanded" if named else f", where at least {limit} is usual"
    if isnan(value):
        if not named:
            return not_run("sqnr", BROKEN, decides=False)
        told = BROKEN
    elif value == inf:
        told = "the logits are identical"
    else:
        told = f"{apart(value, min_sqnr_db)} dB"
    numbers = None if isnan(value) else value, min_sqnr_db, "dB"
    return held("sqnr", value >= min_sqnr_db, f"{told}{wanted}", numbers, decides=named)


def kl(drift: Drift, max_kl: float, *, named: bool = True) -> Gate:
    """Holds the bounds of the mean Kullback-Leibler divergence against the limit, in nats.

    A decision that jumps costs about 1 nat. So rare a jump that it was not seen could still lift
    the mean over the limit, so that fewer examples than bound it never pass.
    """
    limit = against(f"{max_kl:g} nats", named=named)
    value, upper, lower = drift.kl_mean, drift.kl_ucb95, drift.kl_lcb95
    if isnan(value):
        if not named:
            return not_run("kl", BROKEN, decides=False)
        return held("kl", "FAIL", f"{BROKEN}{limit}", (None, max_kl, "nats"), decides=named)
    fewest = flips_needed(0.0, min(max_kl, 0.5)) or 0
    head = f"mean {value:.2g} nats"
    status: Status = "PASS"
    needed = None
    if drift.identical:
        tail = f" (the same network){limit}"
    elif drift.n < 2:
        status, tail = "INCONCLUSIVE", f"{limit}; a bound needs 2 examples, there is 1"
    elif upper < max_kl:
        tail = f" (95 % bound {upper:.2g}){limit}"
        if drift.n < fewest:
            status, needed = "INCONCLUSIVE", fewest
            tail += f"; {fewest} test examples would show it (there are {drift.n})"
    elif lower > max_kl:
        status, tail = "FAIL", f" (95 % sure of over {lower:.2g}){limit}"
    else:
        status = "INCONCLUSIVE"
        needed = _kl_needed(drift, max_kl)
        tail = f" (95 % bound {upper:.2g}){limit}; {more(needed, drift.n, 'this spread')}"
    numbers, examples = (upper if drift.n > 1 else None, max_kl, "nats"), (needed, fewest)
    return held("kl", status, head + tail, numbers, decides=named, examples=examples)


def _kl_needed(drift: Drift, max_kl: float) -> int | None:
    """Examples at which the bound would clear the limit: its distance shrinks with the root of n.

    None where the mean lies on the limit.
    """
    distance = abs(max_kl - drift.kl_mean)
    if distance == 0:
        return None
    return max(drift.n + 1, ceil(drift.n * ((drift.kl_ucb95 - drift.kl_mean) / distance) ** 2))


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
