"""What a gate is, and the words that all gates share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
