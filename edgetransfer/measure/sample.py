"""Which of the examples that were given may show something: each content once, none the model knew.

How many there are stands in every report; what is not new never makes a PASS.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sample:
    """What stands behind the examples that are judged.

    Nobody can be right about contradicted contents, with more than one label; known ones the model
    was fitted, chosen or calibrated on. Those judged count where they are new to the model: where
    none is, all are measured, for nothing.
    """

    given: int
    distinct: int
    contradicted: int
    known: int
    judged: int
    counts: bool = True
    capped: int = 0

    def why_not(self) -> str:
        """Say why nothing that is measured on them counts, empty where it does.

        >>> Sample(80, 40, 0, 40, 40, counts=False).why_not()
        'all 40 contents were fitted, chosen or calibrated on, so that they show nothing'
        """
        if self.counts:
            return ""
        if self.contradicted and not self.known:
            return f"all {self.distinct} contents have more than one label"
        known = "were fitted, chosen or calibrated on, so that they show nothing"
        return f"all {self.distinct} contents {known}"

    def told(self) -> tuple[str, ...]:
        """Say what was left out, in sentences.

            >>> Sample(180, 60, 0, 0, 60).told()
            ('180 examples are 60 different contents, and each counts once',)
        >>> Sample(200, 200, 0, 0, 20, capped=180).told()
        ('20 of 200 examples were drawn by label (--examples): all numbers are of these alone',)
        """
        notes = []
        if self.given > self.distinct:
            notes.append(
                f"{self.given:,} examples are {self.distinct:,} different contents, and each "
                "counts once"
            )
        if self.contradicted:
            notes.append(
                f"{self.contradicted:,} contents stand there with more than one label and are left "
                "out"
            )
        if self.known:
            tail = f"{self.judged:,} are judged" if self.counts else "none is left to judge by"
            notes.append(
                f"the model was fitted, chosen or calibrated on {self.known:,} of these "
                f"{self.distinct:,} contents, which do not count: {tail}"
            )
        if self.capped:
            notes.append(
                f"{self.judged:,} of {self.judged + self.capped:,} examples were drawn by label "
                "(--examples): all numbers are of these alone"
            )
        return tuple(notes)


def draw(
    contents: Sequence[str], labels: Sequence[Any], known: Collection[str]
) -> tuple[list[int], Sample]:
    """Choose the examples that are judged, of N with these digests and labels (None: it has none).

    The model was fitted, chosen or calibrated on what is `known`. Gives places among the N.

    >>> draw(["a", "a", "b", "c"], [0, 0, 1, 1], {"c"})
    ([0, 2], Sample(given=4, distinct=3, contradicted=0, known=1, judged=2, counts=True,
            capped=0))
    """
    places: dict[str, list[int]] = defaultdict(list)
    for place, content in enumerate(contents):
        places[content].append(place)
    clear = {k: v[0] for k, v in places.items() if len({labels[i] for i in v}) == 1}
    new = [place for content, place in clear.items() if content not in known]
    judged = new or sorted(clear.values()) or [v[0] for v in places.values()]
    sample = Sample(
        given=len(contents),
        distinct=len(places),
        contradicted=len(places) - len(clear),
        known=sum(content in known for content in places),
        judged=len(judged),
        counts=bool(new),
    )
    return judged, sample
