"""Holds a fitted model against rivals that know nothing, and says whether the transfer is sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgetransfer.tasks.classification.judge.comparison import compare
from edgetransfer.tasks.classification.judge.metrics import Outcomes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


Finding = Literal["better", "worse", "undecided"]
SIGNIFICANT = 0.05
"""Largest p value of the nearest neighbours that counts as better than chance."""


@dataclass(frozen=True)
class Rivals:
    """One subject and its rivals on the same N examples, none of which they were fitted on.

    Args:
        subject: what the rows call it.
        accuses: how a warning begins: "this backbone knows less ... than".
        truth: int [N].
        decided: int [N], by the subject.
        rivals: int [N] each, by name.
        classes: how many there are.
        where: what the examples are, in words.
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
    rows = []
    for name, decided in contest.rivals.items():
        outcomes = Outcomes(contest.truth, decided, contest.decided, contest.classes)
        found = compare(outcomes, metric, seed=seed)
        rows.append(
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
        )
    return rows


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
    worse = sorted((row for row in rows if row["finding"] == "worse"), key=_delta)
    return [
        {
            "message": f"{contest.accuses} {row['rival']}: {difference(row)}",
            "measured_pp": row["delta_pp"],
        }
        for row in worse
    ]


def neighbour_warnings(neighbours: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Warn where nearest neighbours decide no better than chance."""
    if neighbours is None or neighbours["p"] <= SIGNIFICANT:
        return []
    right, chance = neighbours["accuracy"], neighbours["chance"]
    message = (
        "examples that are alike to this backbone are not of one class: nearest neighbours are "
        f"right in {right:.3f}, by chance {chance:.3f} (p = {neighbours['p']:.2f}, "
        f"n = {neighbours['n']})"
    )
    return [{"message": message, "measured_pp": 100 * (right - chance)}]


def _delta(row: Mapping[str, Any]) -> float:
    delta: float = row["delta_pp"]
    return delta


def untested(reason: str) -> dict[str, Any]:
    """Return the block of a build in which nothing was tested, and why."""
    return {"tested": False, "reason": reason, "comparisons": [], "warnings": []}
