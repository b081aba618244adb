"""Gates of classes: what the candidate loses (G3, G9), and whether the shipped model is any good.

A loss that is small against the floats says nothing of that: there are floors, chance, and what its
build recorded of it. What makes the transfer itself doubtful is warned of, and decides with
`--strict` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.gates import (
    Gate,
    Status,
    against,
    apart,
    flips_needed,
    held,
    more,
    not_run,
    number,
)
from edgetransfer.measure.stats.intervals import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    percentile_bounds,
    wilson,
    z_value,
)
from edgetransfer.measure.stats.paired import Pairs, examples_needed
from edgetransfer.tasks.classification.judge.comparison import (
    DEGENERATE,
    IDENTITY,
    ClassDrop,
    Comparison,
    compare,
    drops,
    effective_examples,
    examples_to_decide,
    fewest_examples,
)
from edgetransfer.tasks.classification.judge.metrics import METRICS, NO_DECISION, Outcomes

if TYPE_CHECKING:
    from edgetransfer.spec.budget import Budget

DOES = {"w8a8": "quantising", "fp16": "16-bit floats"}
"""What costs accuracy, by the precision of the candidate."""
NO_LABELS = "not judged, the examples have no labels"
WORDS = {"top1": "accuracy", "macro-f1": "macro-F1", "balanced-accuracy": "balanced accuracy"}


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
        sure = f"95 % sure of over {apart(lower, max_drop_pp)} pp"
        message = f"{change} ({sure}) of {number(max_drop_pp)} pp allowed"
    else:
        needed = examples_to_decide(comparison, max_drop_pp)
        message = _undecided(comparison, max_drop_pp, needed)
    examples = needed, fewest_examples(comparison, max_drop_pp)
    return held("accuracy", status, message, (upper, max_drop_pp, "pp"), examples=examples)


def _undecided(comparison: Comparison, limit_pp: float, needed: int | None) -> str:
    """Say what was seen and how many examples would decide."""
    n, effective = comparison.n, comparison.n_effective
    limit = number(limit_pp)
    top1 = comparison.metric == "top1"
    quiet = comparison.pairs.discordant == 0 if top1 else comparison.method == DEGENERATE
    upper = apart(comparison.drop_ucb95_pp, limit_pp)
    if not quiet or needed is None:
        of = " of the loss" if comparison.delta_pp > 0 else ""
        seen = f"{_change(comparison.delta_pp)} (95 % bound{of} {upper} pp) of {limit} pp allowed"
        return f"{seen}; {more(needed, n, 'this rate of changes')}"
    worth = "" if effective == n else f" (worth {effective}: the smallest class decides)"
    quietly = f"{needed} without a flip would bound it under {limit} pp"
    return f"{n} examples{worth} bound a drop at {upper} pp at best; {quietly}"


def _cost(comparison: Comparison, limit_pp: float, precision: str) -> str:
    """Say what is shown to cost how much at most."""
    what, upper = WORDS[comparison.metric], comparison.drop_ucb95_pp
    bound = f"costs at most {apart(upper, limit_pp)} pp of {what}"
    if upper < 0:
        bound = f"costs no {what}: it gains at least {-upper:.1f} pp"
    return f"{DOES.get(precision, precision)} {bound} (95 % bound), limit {number(limit_pp)} pp"


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
    undecided = [each.pairs for each in drops if each.upper_pp >= limit_pp]
    needed = [(examples_needed(limit_pp / 100, pairs), pairs.n) for pairs in undecided]
    found = [ceil(own * n / count) for own, count in needed if own is not None]
    return max(found) if len(found) == len(needed) else None


def _lost(drop: ClassDrop) -> str:
    lost = 100 * drop.pairs.drop
    change = f"gained {-lost:.1f}" if lost < 0 else f"lost {lost:.1f}"
    return f"{drop.label!r} {change} pp of its recall on {drop.pairs.n} examples"


def _class_bound(drop: ClassDrop, limit_pp: float) -> str:
    return f"95 % bound {apart(drop.upper_pp, limit_pp)} pp, the highest of all classes"


SURE = 0.99
"""Level at which the model has to be worse than its record to fail: it is asked at every bench, and
new examples are never quite like the old ones."""
_METRIC = {"top1": "right on", "macro-f1": "macro-F1", "balanced-accuracy": "balanced accuracy"}


def floors(
    outcomes: Outcomes | None, labels: Sequence[str], budget: Budget, *, seed: int
) -> tuple[Gate, ...]:
    """Hold the shipped model against every floor that the budget names.

    PASS where the one-sided 95 % lower bound reaches it, FAIL where the upper one does not.
    """
    if outcomes is None:
        asked = {"min-accuracy": budget.min_accuracy, "min-macro-f1": budget.min_macro_f1}
        every = [*asked.items(), *(("min-recall", floor) for floor in budget.min_recall.values())]
        told = "not judged, the examples have no labels; {:.1f} % demanded"
        return tuple(
            held(name, "INCONCLUSIVE", told.format(100 * floor), (None, 100 * floor, "%"))
            for name, floor in every
            if floor is not None
        )
    found = []
    if budget.min_accuracy is not None:
        right = int((outcomes.candidate == outcomes.truth).sum()), outcomes.n
        found.append(_proportion("min-accuracy", "accuracy", right, budget.min_accuracy, 0.95))
    if budget.min_macro_f1 is not None:
        found.append(_macro_f1(outcomes, budget.min_macro_f1, seed))
    level = 1 - 0.05 / max(1, len(budget.min_recall))  # some of K fails by chance
    for label, floor in budget.min_recall.items():
        found.append(_recall(outcomes, labels, label, floor, level))
    return tuple(found)


def chance(outcomes: Outcomes, labels: Sequence[str], metric: str, *, seed: int) -> Gate:
    """FAIL where the shipped model is not better than always answering the commonest class.

    Where it is, but not beyond doubt, the gate is open and does not decide: few examples cannot
    show it.
    """
    counts = np.bincount(outcomes.truth, minlength=outcomes.classes)
    if np.count_nonzero(counts) < 2:
        return not_run("chance", "all labels are of one class", decides=False)
    constant = np.full(outcomes.n, int(counts.argmax()))
    rivals = Outcomes(outcomes.truth, constant, outcomes.candidate, outcomes.classes)
    found = compare(rivals, metric, seed=seed)
    model, rival = 100 * found.candidate, 100 * found.reference
    said = f"the shipped model is {_METRIC[metric]} {model:.1f} %"
    message = f"{said}; always answering {labels[int(counts.argmax())]!r} is {rival:.1f} %"
    status: Status = "PASS" if found.drop_ucb95_pp < 0 else "INCONCLUSIVE"
    if found.delta_pp <= 0:
        status = "FAIL"
        message += (
            ": it learnt nothing that these examples show, or the labels are not in the order of "
            "its outputs"
        )
    elif status == "INCONCLUSIVE":
        message += f": {outcomes.n} examples do not show that it is better"
    decides = status != "INCONCLUSIVE"
    return held("chance", status, message, (model, round(rival, 2), "%"), decides=decides)


def recorded(outcomes: Outcomes, labels: Sequence[str], record: Mapping[str, Any]) -> Gate:
    """FAIL where the shipped model is significantly worse than its build recorded of it.

    Class by class, so that another mix of classes is no reason. Source: Mantel and Haenszel,
    Journal of the National Cancer Institute 22 (1959), section "summary chi square", one-sided and
    with their correction of one half.

    The candidate of `outcomes` is the shipped model; `record` is that of `written_record`.
    """
    tables = list(_tables(outcomes, labels, record))
    n = sum(new for _, new, _, _ in tables)
    whole = sum(old for *_, old in tables)
    if not n or not whole:
        return not_run("recorded", "no class of these was in the build's tests", decides=False)
    excess, variance, expected = 0.0, 0.0, 0.0
    for right, new, was_right, old in tables:
        total, good = new + old, right + was_right  # two at least: one of each
        excess += new * good / total - right
        variance += new * old * good * (total - good) / (total * total * (total - 1))
        expected += new * was_right / old
    z = max(0.0, excess - 0.5) / sqrt(variance) if variance else 0.0
    got = sum(right for right, *_ in tables)
    message = (
        f"right on {100 * got / n:.1f} % of {n}; at the rates that the build recorded on "
        f"{whole} test examples it would be {100 * expected / n:.1f} %"
    )
    worse = z > z_value(SURE)
    if worse:
        message += ": significantly worse, so other labels, other pictures or another model"
    return held("recorded", not worse, message, (100 * got / n, 100 * expected / n, "%"))


def written_record(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what travels with a bundle: how the shipped model did on the test set of its build.

    None where no example counted.
    """
    accuracy, sample = report["accuracy"], report.get("examples", {})
    if accuracy["candidate"] is None or not sample.get("counts", True):
        return None
    seen = [row for row in report["per_class"] if row["recall_candidate"] is not None]
    rights = [round(row["recall_candidate"] * row["n"]) for row in seen]
    n = sum(row["n"] for row in seen)
    return {
        "metric": accuracy["metric"],
        "score": accuracy["candidate"],
        "accuracy": sum(rights) / n,
        "accuracy_ci95": list(wilson(sum(rights), n)),
        "n": n,
        "by_class": {
            row["label"]: [right, row["n"]] for row, right in zip(seen, rights, strict=True)
        },
    }


def _tables(
    outcomes: Outcomes, labels: Sequence[str], record: Mapping[str, Any]
) -> list[tuple[int, int, int, int]]:
    """Right and all, now and as recorded, of every class that has both."""
    found = []
    right = outcomes.candidate == outcomes.truth
    for k, label in enumerate(labels):
        mine, old = outcomes.truth == k, record["by_class"].get(label)
        if mine.any() and old and old[1]:
            found.append((int(right[mine].sum()), int(mine.sum()), *old))
    return found


def _recall(
    outcomes: Outcomes, labels: Sequence[str], label: str, floor: float, level: float
) -> Gate:
    mine = outcomes.truth == (labels.index(label) if label in labels else NO_DECISION)
    if not mine.any():
        why = f"no example of {label!r} among these, {100 * floor:.1f} % demanded"
        return held("min-recall", "INCONCLUSIVE", why, (None, 100 * floor, "%"))
    right = int((outcomes.candidate == outcomes.truth)[mine].sum())
    of = f"recall of {label!r}"
    gate = _proportion("min-recall", of, (right, int(mine.sum())), floor, level)
    if gate.examples_needed is None:
        return gate
    return replace(gate, examples_needed=-(-gate.examples_needed * outcomes.n // int(mine.sum())))


def _proportion(
    name: str, what: str, seen: tuple[int, int], floor: float, fail_level: float
) -> Gate:
    """Hold a proportion, `seen` of (right, all), against a floor by its bounds."""
    right, n = seen
    low, high = clopper_pearson_lower(right, n), clopper_pearson_upper(right, n, fail_level)
    rate = right / n
    tail, needed = "", None
    status: Status = "PASS" if low >= floor else "FAIL" if high < floor else "INCONCLUSIVE"
    bound = f"95 % sure of at least {100 * low:.1f} %"
    if status == "FAIL":
        bound = f"95 % sure of at most {100 * high:.1f} %"
    elif status == "INCONCLUSIVE":
        needed = flips_needed(1 - rate, 1 - floor)
        tail = f"; {more(needed, n, 'this rate')}"
    told = f"{what} {100 * rate:.1f} % ({bound}), {100 * floor:.1f} % demanded{tail}"
    examples = needed, flips_needed(0.0, 1 - floor)
    return held(name, status, told, (100 * low, 100 * floor, "%"), examples=examples)


def _macro_f1(outcomes: Outcomes, floor: float, seed: int) -> Gate:
    """Bounds of a bootstrap, and no better than as many equally weighted right answers show."""
    nothing = np.full(outcomes.n, NO_DECISION)
    alone = Outcomes(outcomes.truth, outcomes.candidate, nothing, outcomes.classes)
    low, high = percentile_bounds(drops(alone, "macro-f1", seed=seed), 0.90)
    most = effective_examples(outcomes)
    low = min(low, clopper_pearson_lower(most, most))
    score = METRICS["macro-f1"](outcomes.truth, outcomes.candidate, outcomes.classes)
    status: Status = "PASS" if low >= floor else "FAIL" if high < floor else "INCONCLUSIVE"
    bound = f"at most {high:.3f}" if status == "FAIL" else f"at least {low:.3f}"
    message = f"{score:.3f} (95 % sure of {bound}), {floor:g} demanded"
    return held("min-macro-f1", status, message, (low, floor, ""))
