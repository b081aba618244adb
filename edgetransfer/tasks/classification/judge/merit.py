"""Whether the shipped model is any good: floors, chance, and what its build recorded of it.

A loss that is small against the floats says nothing of that. What makes the transfer itself
doubtful is warned of, and decides with `--strict` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.gates.gate import Gate, Status, held, more, not_run
from edgetransfer.measure.stats.intervals import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    percentile_bounds,
    smallest_n,
    wilson,
    z_value,
)
from edgetransfer.tasks.classification.judge.comparison import compare, drops, effective_examples
from edgetransfer.tasks.classification.judge.metrics import METRICS, NO_DECISION, Outcomes

if TYPE_CHECKING:
    from edgetransfer.spec.budget import Budget

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
        total, good = new + old, right + was_right
        excess += new * good / total - right
        if total > 1:
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
        needed = _needed(rate, floor)
        tail = f"; {more(needed, n, 'this rate')}"
    told = f"{what} {100 * rate:.1f} % ({bound}), {100 * floor:.1f} % demanded{tail}"
    examples = needed, smallest_n(lambda k: clopper_pearson_lower(k, k) >= floor)
    return held(name, status, told, (100 * low, 100 * floor, "%"), examples=examples)


def _needed(rate: float, floor: float) -> int | None:
    if rate > floor:
        return smallest_n(lambda n: clopper_pearson_lower(rate * n, n) >= floor)
    if rate < floor:
        return smallest_n(lambda n: clopper_pearson_upper(rate * n, n) < floor)
    return None


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
