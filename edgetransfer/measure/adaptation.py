"""Judges what moving to the device's pictures brought, and says it in words.

It does not move anything; it gets decisions on the same labelled examples of the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.measure.paired import Pairs, holm, mcnemar_p
from edgetransfer.measure.soundness import Contest, difference, hold_contest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edgetransfer.spec.words import Metric

PLAIN = "without adaptation"
SIGNIFICANT = 0.05
"""Largest p value, corrected for the number of methods tried, by which `auto` takes one."""

Decided = dict[str, "NDArray[Any]"]


def choose(truth: NDArray[Any], plain: NDArray[Any], adapted: Decided) -> list[dict[str, Any]]:
    """Hold every method against none on the examples to choose by, best gain first.

    McNemar's exact test, corrected by Holm for the number of methods.

    Args:
        truth: int [N].
        plain: int [N], decisions without adaptation.
        adapted: int [N] each, by method.

    Returns:
        A row a method: ``method``, ``gain_pp``, ``p``, ``n`` and ``taken``, true for one at most.

    >>> truth = np.ones(20, int)
    >>> rows = choose(truth, truth * 0, {"align": truth, "norms": truth * 0})
    >>> [(row["method"], row["gain_pp"], row["taken"]) for row in rows]
    [('align', 100.0, True), ('norms', 0.0, False)]
    """
    pairs = {name: _pairs(plain == truth, said == truth) for name, said in adapted.items()}
    corrected = holm(np.array([mcnemar_p(each) for each in pairs.values()]))
    by_gain = sorted(zip(pairs.items(), corrected, strict=True), key=lambda row: row[0][1].drop)
    return [
        {
            "method": name,
            "gain_pp": 0.0 - 100 * each.drop,
            "p": float(p),
            "n": each.n,
            "taken": place == 0 and each.drop < 0 and bool(p < SIGNIFICANT),
        }
        for place, ((name, each), p) in enumerate(by_gain)
    ]


def _pairs(right: NDArray[Any], then: NDArray[Any]) -> Pairs:
    return Pairs(int((right & ~then).sum()), int((~right & then).sum()), len(right))


def compare_adapted(
    truth: NDArray[Any],
    decided: tuple[NDArray[Any], NDArray[Any]],
    where: str,
    *,
    metric: Metric,
    seed: int,
) -> dict[str, Any]:
    """Return the row of a contest: decisions int [N] without and with adaptation."""
    plain, adapted = decided
    contest = Contest("adapted", "", truth, adapted, {PLAIN: plain}, int(truth.max()) + 1, where)
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
            f"{row['method']}: {row['gain_pp']:+.1f} pp on {row['n']} examples to choose by "
            f"(p = {row['p']:.3f}, corrected), {taken}"
        )
    comparison = block.get("comparison")
    if block["method"] == "none":
        yield "no adaptation was shown to help, so that none is shipped"
    elif comparison is None:
        yield f"adapted ({block['method']}); the gain was not measured: {block['unmeasured']}"
    else:
        yield f"adapted ({block['method']}): {difference(comparison)}"
