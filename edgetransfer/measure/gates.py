"""The gates: each holds one thing that was found against its limit, as a pure function of values.

Those of the proofs stand with them in `proofs`, those of another machine in `agreement`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import TYPE_CHECKING, Literal

from edgetransfer.measure.stats.intervals import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    samples_needed,
    smallest_n,
)

if TYPE_CHECKING:
    from edgetransfer.measure.drift import Drift
    from edgetransfer.measure.speed.latency import LatencySummary, Speedup

Status = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"]


@dataclass(frozen=True)
class Gate:
    """One limit and how the candidate stands to it, in a message that begins with the gate's name.

    A FAIL of one that does not decide is a warning. The code is "G0" to "G12", empty for what has
    no number there (latency, size, the transfer). `examples_needed` would decide; `fewest_examples`
    are those without any change that a PASS takes; both are None where that does not apply.
    """

    name: str
    status: Status
    decides: bool
    measured: float | None
    limit: float | None
    unit: str
    message: str
    examples_needed: int | None = None
    code: str = ""
    fewest_examples: int | None = None


_CODES = {
    **dict.fromkeys(("contract", "integrity"), "G0"),
    "preprocessing": "G1",
    "export": "G2",
    **dict.fromkeys(("finite", "accuracy", "flips", "sqnr", "kl"), "G3"),
    "fusion": "G4",
    "preview": "G5",
    "device": "G6",
    "determinism": "G7",
    "residency": "G8",
    "classes": "G9",
    "calibration": "G10",
    "performance": "G11",
    "rebuild": "G12",
}


def held(
    name: str,
    status: Status | bool,
    told: str,
    against: tuple[float | None, float | None, str],
    *,
    decides: bool = True,
    examples: tuple[int | None, int | None] = (None, None),
) -> Gate:
    """Give a gate, from what was measured against which limit, in which unit.

    `status` may be whether it passes; `examples` are those needed, and the fewest.
    """
    status = status if isinstance(status, str) else "PASS" if status else "FAIL"
    message, code = f"{name}: {told}", _CODES.get(name, "")
    return Gate(name, status, decides, *against, message, examples[0], code, examples[1])


def not_run(name: str, reason: str, *, decides: bool = True) -> Gate:
    """Give the gate that nothing was measured for, with the reason."""
    return held(name, "NOT RUN", reason, (None, None, ""), decides=decides)


def against(limit: str, *, named: bool) -> str:
    """Say what a number is held against: a limit of the budget, or one that is usual.

    >>> "3 %" + against("2.0 %", named=True), "3 %" + against("2.0 %", named=False)
    ('3 % of 2.0 % allowed', '3 %, where 2.0 % is usual')
    """
    return f" of {limit} allowed" if named else f", where {limit} is usual"


def more(needed: int | None, n: int, what: str) -> str:
    """Say how many test examples would decide."""
    if needed is None:
        return f"no number of test examples decides at {what} (there are {n})"
    return f"about {rounded(needed)} test examples at {what} would decide (there are {n})"


def number(limit: float) -> str:
    """Write a limit as the user gave it, with a decimal at least.

    >>> number(2), number(0.25)
    ('2.0', '0.25')
    """
    return f"{limit:.1f}" if round(limit, 1) == limit else f"{limit:g}"


def apart(value: float, limit: float, digits: int = 1) -> str:
    """Write a value with as many decimals as show on which side of the limit it lies.

    >>> apart(2.9, 2.0), apart(1.994, 2.0), apart(2.00004, 2.0)
    ('2.9', '1.99', '2.00004')
    """
    while digits < 6 and value != limit and float(f"{value:.{digits}f}") == limit:
        digits += 1
    return f"{value:.{digits}f}"


def rounded(count: int) -> int:
    """Round up to two significant digits: more would claim too much.

    >>> rounded(417), rounded(183), rounded(60)
    (420, 190, 60)
    """
    step = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // step) * step


USUAL_FLIPS_PCT, USUAL_SQNR_DB = 2.0, 20.0
"""What gates that the budget does not name warn by: starting points, not promises."""
BROKEN = "not defined with NaN or Inf among the outputs"


def finite(drift: Drift, total: int) -> Gate:
    """FAIL where the candidate gives a NaN or an infinity among its `total` outputs."""
    count = drift.non_finite
    told = f"{count} of {total} outputs are NaN or Inf"
    return held("finite", not count, told, (count, 0, "outputs"))


def flips(drift: Drift, max_pct: float | None) -> Gate:
    """Holds the bounds of the rate of changed decisions against the limit, or the usual one."""
    named, most = max_pct is not None, USUAL_FLIPS_PCT if max_pct is None else max_pct
    n, count, limit = drift.n, drift.flips, most / 100
    upper, lower = drift.flip_rate_ucb95, drift.flip_rate_lcb95
    allowed = against(f"{number(most)} %", named=named)
    tail = f"(95 % bound {apart(100 * upper, most)} %){allowed}"
    status: Status = "PASS"
    needed = None
    if lower > limit:
        status = "FAIL"
        tail = f"(95 % sure of over {apart(100 * lower, most)} %){allowed}"
    elif upper >= limit:
        status = "INCONCLUSIVE"
        needed = flips_needed(count / n, limit)
        tail = f"{tail}; {more(needed, n, 'this rate')}"
    told = f"{count} of {n} decisions changed {tail}"
    numbers, examples = (100 * upper, most, "%"), (needed, flips_needed(0.0, limit))
    return held("flips", status, told, numbers, decides=named, examples=examples)


def sqnr(drift: Drift, min_db: float | None) -> Gate:
    """Holds the outputs' signal to quantisation noise ratio against the limit, or the usual one."""
    named, least = min_db is not None, USUAL_SQNR_DB if min_db is None else min_db
    limit, value = f"{number(least)} dB", drift.sqnr_db
    wanted = f", at least {limit} demanded" if named else f", where at least {limit} is usual"
    if isnan(value):
        if not named:
            return not_run("sqnr", BROKEN, decides=False)
        told = BROKEN
    elif value == inf:
        told = "the outputs are identical"
    else:
        told = f"{apart(value, least)} dB"
    numbers = None if isnan(value) else value, least, "dB"
    return held("sqnr", value >= least, f"{told}{wanted}", numbers, decides=named)


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


MIB = 2**20


def latency(
    summary: LatencySummary | None, max_latency_ms: float, invalid: Sequence[str] = ()
) -> Gate:
    """Hold the interval of core.onnx's 90th percentile; without (valid) times the gate is open."""
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


SMALLER = 2.0
"""How many times smaller a candidate of the same speed has to be."""


def performance(
    speedup: Speedup | None, precision: str, sizes: tuple[int, int], max_size_mib: float | None
) -> Gate:
    """Warns where floats would serve better: slower, or the same speed and not much smaller.

    `sizes` are bytes of the float model and of the candidate; without times nothing is said.
    """
    if precision == "fp32":
        return not_run("performance", "floats are shipped", decides=False)
    if speedup is None or speedup.wall.ratio is None:
        return not_run("performance", "not timed in this run", decides=False)
    smaller, ratio, kind = sizes[0] / max(sizes[1], 1), speedup.wall.ratio, speedup.wall.speed
    pays = kind == "FASTER" or (kind == "SAME" and smaller >= SMALLER)
    status: Status = "PASS" if pays else "INCONCLUSIVE" if kind == "UNDECIDED" else "FAIL"
    words = {
        "FASTER": f"{ratio:.2f} x as fast as floats",
        "SLOWER": f"{1 / ratio:.2f} x slower than floats",
        "SAME": "as fast as floats",
        "UNDECIDED": "undecided whether faster than floats",
    }
    message = f"{precision} is {words[kind]} here, and {smaller:.1f} x smaller"
    if status == "FAIL":
        fits = max_size_mib is None or sizes[0] / MIB <= max_size_mib
        cure = "--precision fp32 may serve better"
        message += f": {cure if fits else f'floats would not fit {number(max_size_mib or 0)} MiB'}"
    return held("performance", status, message, (ratio, 1.0, "x"), decides=False)
