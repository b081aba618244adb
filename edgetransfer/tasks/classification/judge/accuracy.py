"""G3 and G9: how much of the metric, and of any class's recall, the candidate loses at most."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from scipy.special import pdtr

from edgetransfer.measure.gates.gate import Gate, Status, against, apart, held, more, number
from edgetransfer.measure.stats.paired import Pairs, examples_needed, is_under
from edgetransfer.tasks.classification.judge.comparison import (
    DEGENERATE,
    IDENTITY,
    ClassDrop,
    Comparison,
    examples_to_decide,
)

if TYPE_CHECKING:
    from edgetransfer.spec.budget import Budget

DOES = {"w8a8": "quantising", "fp16": "16-bit floats"}
"""What costs accuracy, by the precision of the candidate."""
NO_LABELS = "not judged, the examples have no labels"
WORDS = {"top1": "accuracy", "macro-f1": "macro-F1", "balanced-accuracy": "balanced accuracy"}

USUALLY_LOST = 0.005
"""Share of decisions that 8 bits are taken to cost, before anything is known: half of those that
may change in a candidate that holds with a margin (`measure.trial.MOST_CHANGED_PCT`)."""


def preview(held_out: Mapping[str, Any], tested: int, budget: Budget) -> str:
    """Say which verdict on the accuracy is probable before anything is compressed.

    `held_out` is how the floats do on what they did not see: ``value``, its ``ci95`` where it is a
    proportion; `tested` is how many test examples there are, of which losses are counted as a
    Poisson number.

    >>> from edgetransfer.spec.budget import Budget
    >>> preview({"value": 0.95}, 1197, Budget())
    'PASS is likely: 8 bits cost about 6 of 1,197 test decisions; 2.0 pp allow for 15'
    >>> preview({"value": 0.95}, 153, Budget())
    'open: 8 bits cost about 1 of 153 test decisions; 2.0 pp allow for none'
    >>> preview({"value": 0.95}, 100, Budget())
    'INCONCLUSIVE: to prove 2.0 pp takes 149 test examples or more, and there are 100'
    >>> preview({"value": 0.8, "ci95": (0.75, 0.84)}, 1197, Budget(min_accuracy=0.9))
    'FAIL is likely: the floats reach at most 0.840, and --min-accuracy asks for 0.9'
    """
    floor, (_, best) = budget.min_accuracy, held_out.get("ci95", (0, 1))
    if floor is not None and best < floor:
        reach = f"the floats reach at most {best:.3f}"
        return f"FAIL is likely: {reach}, and --min-accuracy asks for {floor:g}"
    limit, pp = budget.max_drop_pp / 100, number(budget.max_drop_pp)
    fewest = examples_needed(limit, Pairs(0, 0, tested))
    if fewest is None or tested < fewest:
        needed = f"{fewest:,} test examples or more" if fewest else "more test examples than any"
        return f"INCONCLUSIVE: to prove {pp} pp takes {needed}, and there are {tested:,}"

    def too_many(lost: int) -> bool:
        return not is_under(limit, Pairs(lost, 0, tested))

    may = bisect_left(range(tested), True, key=too_many) - 1
    usual = USUALLY_LOST * tested
    chance, word = pdtr(may, usual), "open"
    if not 0.2 < chance < 0.8:
        word = "PASS is likely" if chance > 0.5 else "INCONCLUSIVE is likely"
    told = f"{word}: 8 bits cost about {max(1, round(usual)):,} of {tested:,} test decisions"
    return f"{told}; {pp} pp allow for {may or 'none'}"


def accuracy(comparison: Comparison | None, max_drop_pp: float, precision: str = "w8a8") -> Gate:
    """One-sided non-inferiority test of the paired loss, 5 % level on either side.

    PASS where the upper bound lies under the limit, FAIL where the lower bound lies over it.

    Without labels there is no comparison.
    """
    if comparison is None:
        return held("accuracy", "NOT RUN", NO_LABELS, (None, max_drop_pp, "pp"))
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


def classes(drops: Sequence[ClassDrop], max_class_drop_pp: float, *, named: bool = True) -> Gate:
    """PASS where every class's bound of its loss lies under the limit, FAIL where one's lies over.

    Without labels there are no drops, and nothing is judged.
    """
    if not drops:
        status: Status = "INCONCLUSIVE" if named else "NOT RUN"
        return held("classes", status, NO_LABELS, (None, None, ""), decides=named)
    limit = against(f"{number(max_class_drop_pp)} pp", named=named)
    worst = max(drops, key=lambda each: each.upper_pp)
    sure = max(drops, key=lambda each: each.lower_pp)
    n = sum(each.pairs.n for each in drops)
    fewest = examples_needed(max_class_drop_pp / 100, Pairs(0, 0, 1)) or 0
    needed = None
    if sure.lower_pp > max_class_drop_pp:
        status = "FAIL"
        bound = f"95 % sure of over {apart(sure.lower_pp, max_class_drop_pp)} pp"
        told = f"{_lost(sure)} ({bound}, corrected for {len(drops)} classes){limit}"
    elif worst.upper_pp < max_class_drop_pp:
        status = "PASS"
        told = f"{_lost(worst)} ({_class_bound(worst, max_class_drop_pp)}){limit}"
    else:
        status = "INCONCLUSIVE"
        needed = _needed(drops, max_class_drop_pp, n)
        told = f"{_lost(worst)} ({_class_bound(worst, max_class_drop_pp)}){limit}"
        told += f"; {fewest} examples of each class without a loss would bound it"
    numbers, examples = (worst.upper_pp, max_class_drop_pp, "pp"), (needed, fewest * len(drops))
    return held("classes", status, told, numbers, decides=named, examples=examples)


def _needed(drops: Sequence[ClassDrop], limit_pp: float, n: int) -> int | None:
    """Examples of all classes, mixed as they are, at which the last class would be decided."""
    most = 0
    for drop in drops:
        if drop.upper_pp >= limit_pp:
            own = drop.needed(limit_pp)
            if own is None:
                return None
            most = max(most, ceil(own * n / drop.pairs.n))
    return most


def _lost(drop: ClassDrop) -> str:
    lost = 100 * drop.pairs.drop
    change = f"gained {-lost:.1f}" if lost < 0 else f"lost {lost:.1f}"
    return f"{drop.label!r} {change} pp of its recall on {drop.pairs.n} examples"


def _class_bound(drop: ClassDrop, limit_pp: float) -> str:
    return f"95 % bound {apart(drop.upper_pp, limit_pp)} pp, the highest of all classes"
