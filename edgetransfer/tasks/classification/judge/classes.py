"""G9 and G10: no class pays for the others, and confidence stays what it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING

from edgetransfer.measure.gates.gate import Gate, Status, against, apart, held, not_run, number
from edgetransfer.measure.gates.outputs import flips_needed
from edgetransfer.measure.stats.paired import Pairs, examples_needed

if TYPE_CHECKING:
    from edgetransfer.tasks.classification.judge.calibration import Calibration
    from edgetransfer.tasks.classification.judge.comparison import ClassDrop

NO_LABELS = "not judged, the examples have no labels"


def classes(drops: Sequence[ClassDrop], max_class_drop_pp: float, *, named: bool = True) -> Gate:
    """PASS where every class's bound of its loss lies under the limit, FAIL where one's lies over.

    Without labels there are no drops, and nothing is judged.
    """
    if not drops:
        return _absent("classes", NO_LABELS, named=named)
    limit = against(f"{number(max_class_drop_pp)} pp", named=named)
    worst = max(drops, key=lambda each: each.upper_pp)
    sure = max(drops, key=lambda each: each.lower_pp)
    n = sum(each.pairs.n for each in drops)
    fewest = examples_needed(max_class_drop_pp / 100, Pairs(0, 0, 1)) or 0
    needed = None
    if sure.lower_pp > max_class_drop_pp:
        status: Status = "FAIL"
        bound = f"95 % sure of over {apart(sure.lower_pp, max_class_drop_pp)} pp"
        told = f"{_lost(sure)} ({bound}, corrected for {len(drops)} classes){limit}"
    elif worst.upper_pp < max_class_drop_pp:
        status = "PASS"
        told = f"{_lost(worst)} ({_bound(worst, max_class_drop_pp)}){limit}"
    else:
        status = "INCONCLUSIVE"
        needed = _needed(drops, max_class_drop_pp, n)
        told = f"{_lost(worst)} ({_bound(worst, max_class_drop_pp)}){limit}"
        told += f"; {fewest} examples of each class without a loss would bound it"
    numbers, examples = (worst.upper_pp, max_class_drop_pp, "pp"), (needed, fewest * len(drops))
    return held("classes", status, told, numbers, decides=named, examples=examples)


def calibration(found: Calibration | str, max_ece_change: float, *, named: bool = True) -> Gate:
    """PASS where the bound of the change lies under the limit, FAIL where a loss is shown over it.

    A flip that was not seen could move the error as far as it moves accuracy, so that fewer
    examples than bound the flips under the limit never pass.

    `found` says why where there is none; the limit is a fraction.
    """
    if isinstance(found, str):
        return _absent("calibration", found, named=named)
    limit = against(f"{max_ece_change:g}", named=named)
    upper, fewest = found.change_ucb95, flips_needed(0.0, max_ece_change) or 0
    bound = f"95 % bound of the change {apart(upper, max_ece_change, 3)}"
    status: Status = "INCONCLUSIVE"
    tail, needed = "", None
    if found.loss_lcb95 > max_ece_change:
        status = "FAIL"
        bound = f"95 % sure of a loss over {apart(found.loss_lcb95, max_ece_change, 3)}"
    elif upper < max_ece_change and (found.n >= fewest or found.identical):
        status = "PASS"
    elif upper < max_ece_change:
        needed = fewest
        tail = f"; {fewest} test examples would show it (there are {found.n})"
    told = (
        f"the error went from {found.reference:.3f} to {found.candidate:.3f} ({bound}){limit}{tail}"
    )
    numbers, examples = (upper, max_ece_change, ""), (needed, fewest)
    return held("calibration", status, told, numbers, decides=named, examples=examples)


def _absent(name: str, reason: str, *, named: bool) -> Gate:
    """Give the gate without anything to judge by: a limit that was named is left open."""
    gate = not_run(name, reason, decides=named)
    return replace(gate, status="INCONCLUSIVE") if named else gate


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


def _bound(drop: ClassDrop, limit_pp: float) -> str:
    return f"95 % bound {apart(drop.upper_pp, limit_pp)} pp, the highest of all classes"
