"""Says in sentences which labels look wrong, what more would give, and what nearly repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def told(block: Mapping[str, Any]) -> list[str]:
    """Say in sentences what was found.

    >>> gain = {"examples": 400, "gain_pp": 2.0, "ci95_pp": [1.0, 3.0]}
    >>> curve = {"now": 200, "falls": True, "gains": [gain],
    ...          "classes": [{"label": "ants", "more": 90, "gain_pp": 4.0, "ci95_pp": [1.0, 7.0]}]}
    >>> for line in told({"judged": 250, "suspect": 7, "curve": curve}):
    ...     print(line)
    7 of 250 labels look wrong
    about 200 more labels should give +2.0 points of accuracy (1.0 to 3.0)
    about 90 more of 'ants', the others growing alike, should give it +4.0 points (1.0 to 7.0)
    >>> told({"judged": 0, "suspect": 0})
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
            f"about {_rounded(row['more'])} more of {row['label']!r}, the others growing alike, "
            f"should give it {_points(row, 'points')}"
        )
    return lines


def told_near(block: Mapping[str, Any]) -> str:
    """Say how many examples nearly repeat others.

    >>> told_near({"pairs": 0, "compared": 90, "examples": 100})
    'none of 90 compared examples nearly repeats another'
    >>> told_near({"pairs": 7, "across": 3, "contrary": 1, "test_examples": 2})
    '7 pairs are nearly the same, 3 across splits, 1 under two labels; 2 test examples may flatter'
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
        said += f"; {tested:,} test example{'' if tested == 1 else 's'} may flatter"
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
