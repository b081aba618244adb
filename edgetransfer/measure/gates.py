"""Holds what was measured against each limit of the budget, one gate a limit.

It does not add the gates up; `verdict` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Literal

from edgetransfer.measure.comparison import DEGENERATE, examples_to_decide
from edgetransfer.measure.proportions import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    smallest_n,
)
from edgetransfer.measure.quantiles import samples_needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgetransfer.measure.comparison import Comparison
    from edgetransfer.measure.drift import Drift
    from edgetransfer.measure.latency import LatencySummary

Status = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"]

MIB = 2**20


@dataclass(frozen=True)
class Gate:
    """One limit and how the candidate stands to it.

    Args:
        name: "finite", "accuracy", "latency", "size", "flips", "sqnr", "residency", "chance" or
            "transfer".
        status: how it went.
        decides: whether it counts for the verdict; where not, a FAIL is a warning.
        measured: the number held against the limit, None where there is none.
        limit: the limit itself.
        unit: of both numbers.
        message: one line for people, with the gate's name in front.
        examples_needed: test examples that would decide, None where that does not apply.
    """

    name: str
    status: Status
    decides: bool
    measured: float | None
    limit: float | None
    unit: str
    message: str
    examples_needed: int | None = None


def finite(drift: Drift, classes: int) -> Gate:
    """FAIL where the candidate gives a NaN or an infinity."""
    count, total = drift.non_finite, drift.n * classes
    message = f"finite: {count} of {total} logits are NaN or Inf"
    return Gate("finite", "FAIL" if count else "PASS", True, count, 0, "logits", message)


def accuracy(comparison: Comparison | None, max_drop_pp: float) -> Gate:
    """One-sided non-inferiority test of the paired loss, 5 % level on either side.

    PASS where the upper bound lies under the limit, FAIL where the lower bound lies over it.
    """
    if comparison is None:
        message = "accuracy: not judged, the examples have no labels"
        return Gate("accuracy", "NOT RUN", True, None, max_drop_pp, "pp", message)
    upper, lower = comparison.drop_ucb95_pp, comparison.drop_lcb95_pp
    status: Status = "INCONCLUSIVE"
    needed = None
    allowed = f"of {_number(max_drop_pp)} pp allowed"
    change = _change(comparison.delta_pp)
    if upper < max_drop_pp:
        status = "PASS"
        message = f"{change} ({_bound(comparison, max_drop_pp)}) {allowed}"
    elif lower > max_drop_pp:
        status = "FAIL"
        message = f"{change} (95 % sure of over {_apart(lower, max_drop_pp)} pp) {allowed}"
    else:
        needed = examples_to_decide(comparison, max_drop_pp)
        message = _undecided(comparison, max_drop_pp, needed)
    return Gate("accuracy", status, True, upper, max_drop_pp, "pp", f"accuracy: {message}", needed)


def latency(
    summary: LatencySummary | None, max_latency_ms: float, invalid: Sequence[str] = ()
) -> Gate:
    """Holds the interval of the 90th percentile against the limit.

    Args:
        summary: of the candidate's core.onnx, None where it was not timed.
        max_latency_ms: the limit.
        invalid: why the times are not to be trusted, empty where they are.
    """
    limit = f"of {_number(max_latency_ms)} ms allowed"
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
    message = f"latency: {message}"
    return Gate("latency", status, True, measured, max_latency_ms, "ms", message)


def size(candidate_bytes: int, max_size_mib: float) -> Gate:
    """Holds the exact size of model.onnx against the limit."""
    mib = candidate_bytes / MIB
    status: Status = "PASS" if mib <= max_size_mib else "FAIL"
    message = f"size: {_apart(mib, max_size_mib, 2)} MiB of {_number(max_size_mib)} MiB allowed"
    return Gate("size", status, True, mib, max_size_mib, "MiB", message)


def flips(drift: Drift, max_flips_pct: float) -> Gate:
    """Holds the bounds of the rate of changed decisions against the limit."""
    n, count, limit = drift.n, drift.flips, max_flips_pct / 100
    upper, lower = drift.flip_rate_ucb95, drift.flip_rate_lcb95
    head = f"flips: {count} of {n} decisions changed"
    allowed = f"of {_number(max_flips_pct)} % allowed"
    needed = None
    if upper < limit:
        status: Status = "PASS"
        tail = f"(95 % bound {_apart(100 * upper, max_flips_pct)} %) {allowed}"
    elif lower > limit:
        status = "FAIL"
        tail = f"(95 % sure of over {_apart(100 * lower, max_flips_pct)} %) {allowed}"
    else:
        status = "INCONCLUSIVE"
        needed = flips_needed(count / n, limit)
        tail = f"(95 % bound {_apart(100 * upper, max_flips_pct)} %) {allowed}"
        tail = f"{tail}; {_more(needed, n, 'this rate')}"
    return Gate("flips", status, True, 100 * upper, max_flips_pct, "%", f"{head} {tail}", needed)


def sqnr(drift: Drift, min_sqnr_db: float) -> Gate:
    """Holds the signal to quantisation noise ratio of the logits against the limit."""
    demanded = f"at least {_number(min_sqnr_db)} dB demanded"
    if isnan(drift.sqnr_db):
        message = f"sqnr: not defined with NaN or Inf among the logits, {demanded}"
        return Gate("sqnr", "FAIL", True, None, min_sqnr_db, "dB", message)
    value = drift.sqnr_db
    status: Status = "PASS" if value >= min_sqnr_db else "FAIL"
    message = f"sqnr: {_apart(value, min_sqnr_db)} dB, {demanded}"
    if value == float("inf"):
        message = f"sqnr: the logits are identical, {demanded}"
    return Gate("sqnr", status, True, value, min_sqnr_db, "dB", message)


def residency(float_conv: int, float_ops: Sequence[str]) -> Gate:
    """Warns of convolutions that a quantised model still runs in float; it never decides."""
    names = [name for name in float_ops if "conv" in name.lower()]
    status: Status = "FAIL" if float_conv else "PASS"
    message = f"residency: {float_conv} Conv left in float"
    if float_conv and names:
        message = f"{message}: {', '.join(names)}"
    return Gate("residency", status, False, float_conv, 0, "Conv", message)


def chance(right: float, label: str, share: float) -> Gate:
    """Warns of a float model that does worse than naming the commonest class; it never decides."""
    message = (
        f"the float model is right on {100 * right:.1f} %, and always answering {label!r} would be "
        f"on {100 * share:.1f} %: are the labels in the order of its outputs?"
    )
    status: Status = "FAIL" if right < share else "PASS"
    return Gate("chance", status, False, 100 * right, 100 * share, "%", message)


def transfer(message: str, measured_pp: float) -> Gate:
    """Warns that this transfer is not sound, see `measure.soundness`; it never decides."""
    return Gate("transfer", "FAIL", False, measured_pp, 0.0, "pp", f"transfer: {message}")


def flips_needed(rate: float, limit: float) -> int | None:
    """Examples that would decide whether a flip rate is under a limit, both fractions.

    >>> flips_needed(0.0, 0.02), flips_needed(0.02, 0.02)
    (149, None)
    """
    if rate < limit:
        return smallest_n(lambda n: clopper_pearson_upper(rate * n, n) < limit)
    if rate == limit:
        return None
    return smallest_n(lambda n: clopper_pearson_lower(rate * n, n) > limit)


def _undecided(comparison: Comparison, limit_pp: float, needed: int | None) -> str:
    """Say what was seen and how many examples would decide."""
    n, effective = comparison.n, comparison.n_effective
    limit = _number(limit_pp)
    top1 = comparison.metric == "top1"
    quiet = comparison.pairs.discordant == 0 if top1 else comparison.method == DEGENERATE
    if not quiet or needed is None:
        seen = f"{_change(comparison.delta_pp)} ({_bound(comparison, limit_pp)})"
        seen = f"{seen} of {limit} pp allowed"
        return f"{seen}; {_more(needed, n, 'this rate of changes')}"
    worth = "" if effective == n else f" (worth {effective}: the smallest class decides)"
    more = f"{needed} without a flip would bound it under {limit} pp"
    best = _apart(comparison.drop_ucb95_pp, limit_pp)
    return f"{n} examples{worth} bound a drop at {best} pp at best; {more}"


def _bound(comparison: Comparison, limit_pp: float) -> str:
    what = "95 % bound of the loss" if comparison.delta_pp > 0 else "95 % bound"
    return f"{what} {_apart(comparison.drop_ucb95_pp, limit_pp)} pp"


def _more(needed: int | None, n: int, what: str) -> str:
    if needed is None:
        return f"no number of test examples decides at {what} (there are {n})"
    return f"about {_rounded(needed)} test examples at {what} would decide (there are {n})"


def _change(delta_pp: float) -> str:
    """Say which way it went.

    >>> _change(-0.654), _change(1.3)
    ('lost 0.65 pp', 'gained 1.30 pp')
    """
    return f"gained {delta_pp:.2f} pp" if delta_pp > 0 else f"lost {abs(delta_pp):.2f} pp"


def _number(limit: float) -> str:
    """Write a limit as the user gave it, with a decimal at least.

    >>> _number(2), _number(0.25)
    ('2.0', '0.25')
    """
    return f"{limit:.1f}" if round(limit, 1) == limit else f"{limit:g}"


def _apart(value: float, limit: float, digits: int = 1) -> str:
    """Write a value with as many decimals as show on which side of the limit it lies.

    >>> _apart(2.9, 2.0), _apart(1.994, 2.0), _apart(2.00004, 2.0)
    ('2.9', '1.99', '2.00004')
    """
    while digits < 6 and value != limit and float(f"{value:.{digits}f}") == limit:
        digits += 1
    return f"{value:.{digits}f}"


def _rounded(count: int) -> int:
    """Round up to two significant digits: more would claim too much.

    >>> _rounded(417), _rounded(183), _rounded(60)
    (420, 190, 60)
    """
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step
