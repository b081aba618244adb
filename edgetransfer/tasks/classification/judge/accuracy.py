"""The non-inferiority gate: how much of the metric the candidate loses against the limit."""

from __future__ import annotations

from edgetransfer.measure.gates.gate import Gate, Status, apart, held, more, number
from edgetransfer.measure.stats.paired import Pairs, examples_needed
from edgetransfer.tasks.classification.judge.comparison import (
    DEGENERATE,
    IDENTITY,
    Comparison,
    examples_to_decide,
)

DOES = {"w8a8": "quantising", "fp16": "16-bit floats"}
"""What costs accuracy, by the precision of the candidate."""
WORDS = {"top1": "accuracy", "macro-f1": "macro-F1", "balanced-accuracy": "balanced accuracy"}


def accuracy(comparison: Comparison | None, max_drop_pp: float, precision: str = "w8a8") -> Gate:
    """One-sided non-inferiority test of the paired loss, 5 % level on either side.

    PASS where the upper bound lies under the limit, FAIL where the lower bound lies over it.

    Without labels there is no comparison.
    """
    if comparison is None:
        told = "not judged, the examples have no labels"
        return held("accuracy", "NOT RUN", told, (None, max_drop_pp, "pp"))
    upper, lower = comparison.drop_ucb95_pp, comparison.drop_lcb95_pp
    status: Status = "INCONCLUSIVE"
    needed = None
    allowed = f"of {number(max_drop_pp)} pp allowed"
    change = _change(comparison.delta_pp)
    if comparison.method == IDENTITY:
        status = "PASS"
        message = f"{IDENTITY}: it costs nothing, whatever the examples"
    elif upper < max_drop_pp:
        status = "PASS"
        message = (
            f"{_cost(comparison, max_drop_pp, precision)}; {change} on {comparison.n} examples"
        )
    elif lower > max_drop_pp:
        status = "FAIL"
        message = f"{change} (95 % sure of over {apart(lower, max_drop_pp)} pp) {allowed}"
    else:
        needed = examples_to_decide(comparison, max_drop_pp)
        message = _undecided(comparison, max_drop_pp, needed)
    examples = needed, _fewest(comparison, max_drop_pp)
    return held("accuracy", status, message, (upper, max_drop_pp, "pp"), examples=examples)


def _fewest(comparison: Comparison, limit_pp: float) -> int | None:
    """Examples that would pass the limit if none of them flipped."""
    quiet = examples_needed(limit_pp / 100, Pairs(0, 0, comparison.n))
    if quiet is None:
        return None
    return -(-quiet * comparison.n // comparison.n_effective)


def _undecided(comparison: Comparison, limit_pp: float, needed: int | None) -> str:
    """Say what was seen and how many examples would decide."""
    n, effective = comparison.n, comparison.n_effective
    limit = number(limit_pp)
    top1 = comparison.metric == "top1"
    quiet = comparison.pairs.discordant == 0 if top1 else comparison.method == DEGENERATE
    if not quiet or needed is None:
        seen = f"{_change(comparison.delta_pp)} ({_bound(comparison, limit_pp)})"
        seen = f"{seen} of {limit} pp allowed"
        return f"{seen}; {more(needed, n, 'this rate of changes')}"
    worth = "" if effective == n else f" (worth {effective}: the smallest class decides)"
    quietly = f"{needed} without a flip would bound it under {limit} pp"
    best = apart(comparison.drop_ucb95_pp, limit_pp)
    return f"{n} examples{worth} bound a drop at {best} pp at best; {quietly}"


def _cost(comparison: Comparison, limit_pp: float, precision: str) -> str:
    """Say what is shown to cost how much at most."""
    what, upper = WORDS[comparison.metric], comparison.drop_ucb95_pp
    bound = f"costs at most {apart(upper, limit_pp)} pp of {what}"
    if upper < 0:
        bound = f"costs no {what}: it gains at least {-upper:.1f} pp"
    return f"{DOES.get(precision, precision)} {bound} (95 % bound), limit {number(limit_pp)} pp"


def _bound(comparison: Comparison, limit_pp: float) -> str:
    what = "95 % bound of the loss" if comparison.delta_pp > 0 else "95 % bound"
    return f"{what} {apart(comparison.drop_ucb95_pp, limit_pp)} pp"


def _change(delta_pp: float) -> str:
    """Say which way it went.

    >>> _change(-0.654), _change(1.3)
    ('lost 0.65 pp', 'gained 1.30 pp')
    """
    return f"gained {delta_pp:.2f} pp" if delta_pp > 0 else f"lost {abs(delta_pp):.2f} pp"
