"""Judges what domain adaptation brought, and says it in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgetransfer.tasks.classification.judge.metrics import METRICS
from edgetransfer.tasks.classification.study.soundness import Rivals, difference, hold_contest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray


PLAIN = "without adaptation"
Decided = dict[str, "NDArray[Any]"]


def choose(
    truth: NDArray[Any], plain: NDArray[Any], adapted: Decided, metric: str
) -> list[dict[str, Any]]:
    """Hold every method against none on labelled examples of the device, best gain first.

    The method with the largest metric is taken; where it only equals none, which is cheaper, none.

    Args:
        truth: int [N].
        plain: int [N], decisions without adaptation.
        adapted: int [N] each, by method.
        metric: by which is chosen.

    Returns:
        A row a method: ``method``, ``gain_pp``, ``n`` and ``taken``, true for one at most.

    >>> import numpy as np
    >>> truth = np.ones(20, int)
    >>> rows = choose(truth, truth * 0, {"align": truth, "norms": truth * 0}, "top1")
    >>> [(row["method"], row["gain_pp"], row["taken"]) for row in rows]
    [('align', 100.0, True), ('norms', 0.0, False)]
    """
    of = METRICS[metric]
    classes = 1 + int(max(each.max() for each in (truth, plain, *adapted.values())))
    before = of(truth, plain, classes)
    gains = {name: of(truth, said, classes) - before for name, said in adapted.items()}
    by_gain = sorted(gains, key=lambda name: -gains[name])
    return [
        {
            "method": name,
            "gain_pp": 100 * gains[name],
            "n": len(truth),
            "taken": place == 0 and gains[name] > 0,
        }
        for place, name in enumerate(by_gain)
    ]


def crossed(
    truth: NDArray[Any],
    plain: NDArray[Any],
    adapted: Decided,
    halves: tuple[NDArray[Any], NDArray[Any]],
    metric: str,
) -> NDArray[Any]:
    """Return decisions int [N], each by the method that the other half of the examples chooses.

    What is chosen by a gain looks too good on the examples it was chosen by.

    Args:
        truth: int [N].
        plain: int [N], decisions without adaptation.
        adapted: int [N] each, by method.
        halves: rows of both halves.
        metric: by which is chosen.
    """
    found = plain.copy()
    for chosen_by, judged in (halves, halves[::-1]):
        said = {name: each[chosen_by] for name, each in adapted.items()}
        best = choose(truth[chosen_by], plain[chosen_by], said, metric)[0]
        if best["taken"]:
            found[judged] = adapted[best["method"]][judged]
    return found


def compare_adapted(
    truth: NDArray[Any],
    decided: tuple[NDArray[Any], NDArray[Any]],
    where: str,
    *,
    metric: str,
    seed: int,
) -> dict[str, Any]:
    """Return the row of a contest: decisions int [N] without and with adaptation."""
    plain, adapted = decided
    contest = Rivals("adapted", "", truth, adapted, {PLAIN: plain}, int(truth.max()) + 1, where)
    row: dict[str, Any] = hold_contest(contest, metric, seed=seed)[0]
    return row


def warnings(comparison: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Warn where the adaptation that is shipped was shown to be worse than none."""
    if comparison is None or comparison["finding"] != "worse":
        return []
    message = f"the adaptation makes it worse: {difference(comparison)}"
    return [{"message": message, "measured_pp": comparison["delta_pp"]}]


def told_shift(shift: Mapping[str, Any]) -> str:
    """Say how far the device's pictures are from the labelled ones.

    >>> told_shift({"auc": 0.971, "ci95": [0.95, 0.984]})
    'device pictures can be told from the labelled ones with AUC 0.97 [0.95, 0.98]'
    """
    low, high = shift["ci95"]
    verb = "can" if low > 0.5 else "cannot"
    tail = f"AUC {shift['auc']:.2f} [{low:.2f}, {high:.2f}]"
    if verb == "can":
        return f"device pictures can be told from the labelled ones with {tail}"
    return f"device pictures were not told from the labelled ones: {tail}"


def told(block: Mapping[str, Any]) -> Iterable[str]:
    """Say in sentences what was found and done."""
    if block.get("shift") is not None:
        yield told_shift(block["shift"])
    for row in block.get("tried", ()):
        taken = "taken" if row["taken"] else "not taken"
        yield (
            f"{row['method']}: {row['gain_pp']:+.1f} pp on {row['n']} examples to choose by, "
            f"{taken}"
        )
    comparison = block.get("comparison")
    if block["method"] == "none":
        yield "no adaptation was better than none, so that none is shipped"
    elif comparison is None:
        yield f"adapted ({block['method']}); the gain was not measured: {block['unmeasured']}"
    else:
        yield f"adapted ({block['method']}): {difference(comparison)}"
