"""Counts right and wrong decisions of a reference and a candidate on the same examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.drift import NO_TIES
from edgetransfer.measure.stats.paired import Pairs, holm, mcnemar_p

if TYPE_CHECKING:
    from edgetransfer.agent.outputs import Outputs

LOGITS = "logits"
"""Name of a classifier's output."""
NO_DECISION = -1
"""Stands where a row of logits holds a NaN or an infinity: never right, and never a class."""


@dataclass(frozen=True)
class Outcomes:
    """Labels and decisions of the same N examples: class numbers, int [N], or `NO_DECISION`."""

    truth: NDArray[Any]
    reference: NDArray[Any]
    candidate: NDArray[Any]
    classes: int

    def __post_init__(self) -> None:
        lengths = {len(self.truth), len(self.reference), len(self.candidate)}
        if len(lengths) != 1 or 0 in lengths:
            msg = f"truth, reference and candidate need one length above 0, found {lengths}"
            raise ValueError(msg)
        if self.truth.min() < 0 or self.truth.max() >= self.classes:
            msg = f"labels reach from {self.truth.min()} to {self.truth.max()}, expected"
            raise ValueError(f"{msg} 0 to {self.classes - 1}")

    @property
    def n(self) -> int:
        """How many examples there are."""
        return len(self.truth)

    def pairs(self) -> Pairs:
        """Count the examples that only one of the two gets right."""
        right, also = self.reference == self.truth, self.candidate == self.truth
        return Pairs(int(np.sum(right & ~also)), int(np.sum(also & ~right)), self.n)

    def where(self, mask: NDArray[np.bool_]) -> Outcomes:
        """Keep the examples that a mask [N] selects."""
        return Outcomes(self.truth[mask], self.reference[mask], self.candidate[mask], self.classes)


@dataclass(frozen=True)
class ClassResult:
    """How one class fares. Recalls are fractions and None where the class has no example."""

    label: str
    n: int
    recall_reference: float | None
    recall_candidate: float | None
    change_pp: float | None
    p_holm: float | None


def decisions(logits: NDArray[Any]) -> NDArray[np.int64]:
    """Class of the largest logit [N] of logits [N, C]; the first of equals.

    >>> decisions(np.array([[0.1, 0.9], [2.0, 2.0], [float("nan"), 1.0]])).tolist()
    [1, 0, -1]
    """
    finite = np.isfinite(logits).all(axis=1)
    best = np.where(finite[:, None], logits, 0).argmax(axis=1)
    return np.where(finite, best, NO_DECISION)


def changed(
    reference: NDArray[Any], candidate: NDArray[Any], tie: float = 0.0
) -> NDArray[np.bool_]:
    """Tell of which examples, logits [N, C], another class has the largest logit: bool [N].

    Where a move of every logit by `tie` explains it, none has.

    >>> changed(np.array([[1.0, 0.9]]), np.array([[0.9, 1.0]])).tolist()
    [True]
    >>> changed(np.array([[1.0, 0.9]]), np.array([[0.9, 1.0]]), tie=0.1).tolist()
    [False]
    """
    if not tie:
        return np.asarray(decisions(reference) != decisions(candidate))
    chosen = reference[np.arange(len(reference)), candidate.argmax(axis=1)]
    return np.asarray(reference.max(axis=1) - chosen > 2 * tie)


def changed_outputs(
    reference: Outputs, candidate: Outputs, ties: Mapping[str, float] = NO_TIES
) -> NDArray[np.bool_]:
    """Tell of which examples the class changed, of the outputs of two models: see `changed`."""
    return changed(reference[LOGITS], candidate[LOGITS], ties.get(LOGITS, 0.0))


def confusion(truth: NDArray[Any], decided: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Counts [C, C]: row = label, column = decision; examples without a decision are left out.

    >>> confusion(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    counts = np.zeros((classes, classes), np.int64)
    known = decided != NO_DECISION
    np.add.at(counts, (truth[known], decided[known]), 1)
    return counts


def top1(truth: NDArray[Any], decided: NDArray[Any], classes: int) -> float:
    """Fraction of right decisions; `classes` is not used, so that all metrics are called alike."""
    del classes
    return float(np.mean(truth == decided))


def balanced_accuracy(truth: NDArray[Any], decided: NDArray[Any], classes: int) -> float:
    """Mean recall of the classes that occur in the labels.

    Source: Brodersen et al., "The balanced accuracy and its posterior distribution", ICPR 2010,
    for two classes; its mean over classes is scikit-learn's `balanced_accuracy_score`.

    >>> balanced_accuracy(np.array([0, 0, 0, 1]), np.array([0, 0, 0, 0]), 2)
    0.5
    """
    support = np.bincount(truth, minlength=classes)
    hits = np.bincount(truth[truth == decided], minlength=classes)
    return float(np.mean(hits[support > 0] / support[support > 0]))


def macro_f1(truth: NDArray[Any], decided: NDArray[Any], classes: int) -> float:
    """Mean F1 of the classes that occur in the labels.

    A class that is only ever predicted has no F1 of its own (it would enter as 0 for one model
    and not for the other); its false positives still count against the classes they came from.
    Source: Opitz and Burst, "Macro F1 and Macro F1", arXiv 1911.03347, the mean of F1 scores.

    >>> round(macro_f1(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), 2), 4)
    0.7333
    """
    support = np.bincount(truth, minlength=classes)
    said = np.bincount(decided[decided != NO_DECISION], minlength=classes)
    hits = np.bincount(truth[truth == decided], minlength=classes)
    seen = support > 0
    return float(np.mean(2 * hits[seen] / (support[seen] + said[seen])))


METRICS: dict[str, Callable[[NDArray[Any], NDArray[Any], int], float]] = {
    "top1": top1,
    "macro-f1": macro_f1,
    "balanced-accuracy": balanced_accuracy,
}


def per_class(outcomes: Outcomes, labels: Sequence[str]) -> tuple[ClassResult, ...]:
    """Recall of every class and whether its change is more than chance.

    `p_holm` is McNemar's exact p value among the examples of the class, Holm-corrected over the
    classes that have any.
    """
    parts = [outcomes.truth == k for k in range(outcomes.classes)]
    pairs = [outcomes.where(part).pairs() if part.any() else None for part in parts]
    raw = np.array([mcnemar_p(p) for p in pairs if p is not None])
    corrected = iter(holm(raw).tolist())
    rows = []
    for k, pair in enumerate(pairs):
        if pair is None:
            rows.append(ClassResult(labels[k], 0, None, None, None, None))
            continue
        recall = float(np.mean(outcomes.reference[parts[k]] == k))
        also = float(np.mean(outcomes.candidate[parts[k]] == k))
        change_pp = -100 * pair.drop + 0.0
        rows.append(ClassResult(labels[k], pair.n, recall, also, change_pp, next(corrected)))
    return tuple(rows)
