"""Bounds what each class loses of its recall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.measure.stats.paired import Pairs, drop_lower, drop_upper, examples_needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgetransfer.measure.metrics import Outcomes


@dataclass(frozen=True)
class ClassDrop:
    """What one class loses.

    Args:
        label: of the class.
        pairs: among its examples, those that only one of the two models gets right.
        upper_pp: one-sided 95 % upper bound of the loss.
        lower_pp: lower bound, at 5 % for all classes together.
    """

    label: str
    pairs: Pairs
    upper_pp: float
    lower_pp: float

    def needed(self, limit_pp: float) -> int | None:
        """Examples of this class that would decide, at the rates that were seen."""
        return examples_needed(limit_pp / 100, self.pairs)


def class_drops(outcomes: Outcomes, labels: Sequence[str]) -> tuple[ClassDrop, ...]:
    """Bound the loss of every class that has examples.

    That *no* class loses more than a limit is shown when each one's 95 % bound lies under it: an
    intersection-union test, which needs no correction (Berger, Technometrics 24, 1982). That *some*
    class does is one of K chances, so that the lower bounds are taken at 5 % / K, the first step of
    Holm's procedure (Scandinavian Journal of Statistics 6, 1979).
    """
    present = [k for k in range(outcomes.classes) if (outcomes.truth == k).any()]
    level = 1 - 0.05 / len(present)
    drops = []
    for k in present:
        pairs = outcomes.where(np.asarray(outcomes.truth == k)).pairs()
        upper, lower = 100 * drop_upper(pairs), 100 * drop_lower(pairs, level)
        drops.append(ClassDrop(labels[k], pairs, upper, lower))
    return tuple(drops)
