"""What checks and adaptation came to, in judgements and words.

A fitted model against rivals that know nothing; labels that look wrong, what more of them would
give, what nearly repeats; what moving to the device's pictures brought.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from edgetransfer.tasks.classification.judge.comparison import compare
from edgetransfer.tasks.classification.judge.metrics import METRICS, Outcomes

PLAIN = "without adaptation"
Decided = dict[str, "NDArray[Any]"]


def choose_method(
    truth: NDArray[Any], plain: NDArray[Any], adapted: Decided, metric: str
) -> list[dict[str, Any]]:
    """Hold every method against none on labelled examples of the device, best gain first.

    The method with the largest metric is taken; where it only equals none, which is cheaper, none.
    Truth and decisions without adaptation and by method are int [N]. Of each row ``taken`` is true
    for one at most.

    >>> import numpy as np
    >>> truth = np.ones(20, int)
    >>> rows = choose_method(truth, truth * 0, {"align": truth, "norms": truth * 0}, "top1")
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

    What is chosen by a gain looks too good on the examples it was chosen by. `halves` are the rows
    of both; the others as of `choose_method`.
    """
    found = plain.copy()
    for chosen_by, judged in (halves, halves[::-1]):
        said = {name: each[chosen_by] for name, each in adapted.items()}
        best = choose_method(truth[chosen_by], plain[chosen_by], said, metric)[0]
        if best["taken"]:
            found[judged] = adapted[best["method"]][judged]
    return found


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
    tail = f"AUC {shift['auc']:.2f} [{low:.2f}, {high:.2f}]"
    if low > 0.5:
        return f"device pictures can be told from the labelled ones with {tail}"
    return f"device pictures were not told from the labelled ones: {tail}"


def told_adaptation(block: Mapping[str, Any]) -> Iterable[str]:
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


def told_labels(block: Mapping[str, Any]) -> list[str]:
    """Say in sentences what was found.

    >>> gain = {"examples": 400, "gain_pp": 2.0, "ci95_pp": [1.0, 3.0]}
    >>> curve = {"now": 200, "falls": True, "gains": [gain],
    ...          "classes": [{"label": "ants", "more": 90, "gain_pp": 4.0, "ci95_pp": [1.0, 7.0]}]}
    >>> for line in told_labels({"judged": 250, "suspect": 7, "curve": curve}):
    ...     print(line)
    7 of 250 labels look wrong
    about 200 more labels should give +2.0 points of accuracy (1.0 to 3.0)
    about 90 more of 'ants', the others in proportion, should give it +4.0 points (1.0 to 7.0)
    >>> told_labels({"judged": 0, "suspect": 0})
    ['a class has one example only: nothing says whether labels are right']
    """
    suspect, judged = block["suspect"], block["judged"]
    lines = [f"{suspect or 'none'} of {judged} labels {'looks' if suspect == 1 else 'look'} wrong"]
    if not judged:
        lines = ["a class has one example only: nothing says whether labels are right"]
    near = block.get("near_duplicates")
    if near is not None:
        lines.append(told_near(near))
    curve = block.get("curve")
    if curve is None or not curve["gains"]:
        return lines
    gain = min(curve["gains"], key=lambda row: abs(int(row["examples"]) - 2 * int(curve["now"])))
    more = f"about {_rounded(gain['examples'] - curve['now'])} more labels"
    if not curve["falls"]:
        lines.append(f"{more}: the curve cannot tell, {_points(gain, 'points')}")
        return lines
    lines.append(f"{more} should give {_points(gain, 'points of accuracy')}")
    for row in curve["classes"][:1]:
        lines.append(
            f"about {_rounded(row['more'])} more of {row['label']!r}, the others in proportion, "
            f"should give it {_points(row, 'points')}"
        )
    return lines


def told_near(block: Mapping[str, Any]) -> str:
    """Say how many examples nearly repeat others.

    >>> told_near({"pairs": 0, "compared": 90, "examples": 100})
    'none of 90 compared examples nearly repeats another'
    >>> told_near({"pairs": 7, "across": 3, "contrary": 1, "test_examples": 2})
    '7 pairs are nearly the same, 3 across splits, 1 under two labels; 2 test examples may raise
    the score'
    """
    if not block["pairs"]:
        return f"none of {block['compared']:,} compared examples nearly repeats another"
    pairs, across, tested = block["pairs"], block["across"], block["test_examples"]
    said = f"{pairs:,} {'pair is' if pairs == 1 else 'pairs are'} nearly the same"
    if across:
        said += f", {across:,} across splits"
    if block["contrary"]:
        said += f", {block['contrary']:,} under two labels"
    if tested:
        said += f"; {tested:,} test example{'' if tested == 1 else 's'} may raise the score"
    return said


def _rounded(count: int) -> str:
    """Write two figures of a number.

    >>> _rounded(481)
    '480'
    """
    return f"{float(f'{count:.2g}'):,.0f}"


def _points(gain: Mapping[str, Any], unit: str) -> str:
    low, high = gain["ci95_pp"]
    return f"{gain['gain_pp']:+.1f} {unit} ({low:.1f} to {high:.1f})"


Finding = Literal["better", "worse", "undecided"]
SIGNIFICANT = 0.05
"""Largest p value of the nearest neighbours that counts as better than chance."""


@dataclass(frozen=True)
class Rivals:
    """One subject and its rivals on the same N examples, none of which they were fitted on.

    Truth and decisions of all are int [N]; `accuses` is how a warning begins ("this backbone knows
    less ... than"), `where` says what the examples are.
    """

    subject: str
    accuses: str
    truth: NDArray[Any]
    decided: NDArray[Any]
    rivals: Mapping[str, NDArray[Any]]
    classes: int
    where: str


def hold_contest(contest: Rivals, metric: str, *, seed: int) -> list[dict[str, Any]]:
    """Compare the subject with each rival by a paired 95 % interval.

    "better" and "worse" where the whole interval says so, else "undecided". The intervals are not
    corrected for the number of rivals: a false "worse" needs the subject to be no better than one.

    Returns:
        One row a rival, in plain JSON types; differences in points, subject - rival.
    """
    outcomes = {
        name: Outcomes(contest.truth, decided, contest.decided, contest.classes)
        for name, decided in contest.rivals.items()
    }
    compared = {name: compare(each, metric, seed=seed) for name, each in outcomes.items()}
    return [
        {
            "subject": contest.subject,
            "rival": name,
            "metric": metric,
            "n": found.n,
            "examples": contest.where,
            "subject_score": found.candidate,
            "rival_score": found.reference,
            "delta_pp": found.delta_pp,
            "ci95_pp": list(found.ci95_pp),
            "finding": finding(found.ci95_pp),
            "method": found.method,
        }
        for name, found in compared.items()
    ]


def finding(ci95_pp: Sequence[float]) -> Finding:
    """Say what an interval of subject - rival shows.

    >>> finding((0.1, 4.0)), finding((-3.0, -0.1)), finding((-1.0, 1.0))
    ('better', 'worse', 'undecided')
    """
    low, high = ci95_pp
    return "better" if low > 0 else "worse" if high < 0 else "undecided"


def difference(row: Mapping[str, Any]) -> str:
    """Write the evidence of one row.

    >>> difference({"subject_score": 0.71, "rival_score": 0.78, "delta_pp": -7.0,
    ...             "ci95_pp": [-11.0, -3.0], "n": 200, "examples": "held-out examples"})
    '0.710 against 0.780, difference -7.0 pp [-11.0, -3.0] on 200 held-out examples'
    """
    low, high = row["ci95_pp"]
    return (
        f"{row['subject_score']:.3f} against {row['rival_score']:.3f}, difference "
        f"{row['delta_pp']:+.1f} pp [{low:+.1f}, {high:+.1f}] on {row['n']} {row['examples']}"
    )


def unseen_cost(found: Mapping[str, Any]) -> str:
    """Write what a group costs that nothing was fitted on.

    >>> unseen_cost({"column": "speaker", "groups": 4, "mixed": 0.9, "apart": 0.75,
    ...              "cost_pp": 15.0, "ci95_pp": [9.0, 21.0]})
    'an unseen speaker costs 15.0 pp [+9.0, +21.0]: 0.750 against 0.900 in a mix of 4'
    """
    low, high = found["ci95_pp"]
    return (
        f"an unseen {found['column']} costs {found['cost_pp']:.1f} pp [{low:+.1f}, {high:+.1f}]: "
        f"{found['apart']:.3f} against {found['mixed']:.3f} in a mix of {found['groups']}"
    )


def contest_warnings(contest: Rivals, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Warn of every rival that is better, worst first."""
    worse = [row for row in rows if row["finding"] == "worse"]
    return [
        {
            "message": f"{contest.accuses} {row['rival']}: {difference(row)}",
            "measured_pp": row["delta_pp"],
        }
        for row in sorted(worse, key=lambda row: float(row["delta_pp"]))
    ]


def neighbour_warnings(neighbours: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Warn where nearest neighbours decide no better than chance."""
    if neighbours is None or neighbours["p"] <= SIGNIFICANT:
        return []
    right, chance = neighbours["accuracy"], neighbours["chance"]
    message = (
        "what this backbone finds similar is often of different classes: nearest neighbours are "
        f"right in {right:.3f}, by chance {chance:.3f} (p = {neighbours['p']:.2f}, "
        f"n = {neighbours['n']})"
    )
    return [{"message": message, "measured_pp": 100 * (right - chance)}]


def untested(reason: str) -> dict[str, Any]:
    """Return the block of a build in which nothing was tested, and why."""
    return {"tested": False, "reason": reason, "comparisons": [], "warnings": []}
