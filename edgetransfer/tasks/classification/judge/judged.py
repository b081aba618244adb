"""Judges classifiers: every statistic, all gates and the blocks of the report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import softmax

from edgetransfer.measure.gates import BROKEN
from edgetransfer.measure.measurement import Measurement, TaskGates, TaskTrial, TrialInput
from edgetransfer.measure.plain import Missing, or_missing
from edgetransfer.measure.stats.intervals import wilson
from edgetransfer.measure.stats.paired import mcnemar_p
from edgetransfer.tasks.classification.judge import gates
from edgetransfer.tasks.classification.judge.comparison import (
    IDENTITY,
    by_group,
    class_drops,
    compare,
    examples_to_decide,
)
from edgetransfer.tasks.classification.judge.metrics import (
    LOGITS,
    NO_DECISION,
    Outcomes,
    confusion,
    decisions,
    per_class,
)
from edgetransfer.tasks.classification.judge.shares import (
    Calibration,
    Divergence,
    calibration,
    calibration_gate,
    divergence,
    kl,
)

if TYPE_CHECKING:
    from edgetransfer.measure.drift import Drift
    from edgetransfer.measure.gates import Gate
    from edgetransfer.spec.budget import Budget
    from edgetransfer.tasks.classification.judge.comparison import ClassDrop, Comparison

Tree = dict[str, Any]
USUAL_KL, USUAL_CLASS_DROP_PP, USUAL_ECE_CHANGE = 0.01, 5.0, 0.02
"""What gates that the budget does not name warn by: starting points, not promises."""
_UNLABELLED = Missing("the examples have no labels")
_ACCURACY = (
    *("metric", "n", "reference", "candidate", "reference_ci95", "candidate_ci95"),
    *("delta_pp", "ci95_pp", "drop_ucb95_pp", "drop_lcb95_pp"),
    *("reference_only", "candidate_only", "mcnemar_p", "method"),
)


@dataclass(frozen=True)
class JudgedClasses:
    """All statistics of classes in a measurement; None or empty where labels are missing."""

    raw: Measurement
    divergence: Divergence
    outcomes: Outcomes | None = None
    accuracy: Comparison | None = None
    calibration: Calibration | None = None
    class_drops: tuple[ClassDrop, ...] = ()

    def gates(self) -> TaskGates:
        """Hold them against the budget: G3's accuracy and divergence, merit, G9 and G10."""
        raw, budget = self.raw, self.raw.budget
        drop, ece = budget.max_class_drop_pp, budget.max_ece_change
        reason = BROKEN if isnan(self.divergence.mean) else gates.NO_LABELS
        found, limit = self.calibration or reason, _or(ece, USUAL_ECE_CHANGE)
        parts = (
            gates.classes(self.class_drops, _or(drop, USUAL_CLASS_DROP_PP), named=drop is not None),
            calibration_gate(found, limit, named=ece is not None),
        )
        named = budget.max_kl is not None
        return TaskGates(
            loss=(gates.accuracy(self.accuracy, budget.max_drop_pp, raw.precision),),
            values=(kl(self.divergence, _or(budget.max_kl, USUAL_KL), named=named),),
            merit=self._merit(),
            parts=parts,
        )

    def _merit(self) -> tuple[Gate, ...]:
        raw, outcomes = self.raw, self.outcomes
        held = gates.floors(outcomes, raw.labels, raw.budget, seed=raw.seed)
        if outcomes is None:
            return held
        held += (gates.chance(outcomes, raw.labels, raw.metric, seed=raw.seed),)
        if raw.recorded is not None:
            held += (gates.recorded(outcomes, raw.labels, raw.recorded),)
        return held

    def written(self) -> Tree:
        """Return the blocks of the report that are about classes and shares."""
        raw, outcomes = self.raw, self.outcomes
        unlabelled = {**dict.fromkeys(_ACCURACY, _UNLABELLED), "metric": raw.metric, "n": 0}
        rows = () if outcomes is None else per_class(outcomes, raw.labels)
        groups = (
            [] if outcomes is None else by_group(outcomes, raw.groups, raw.metric, seed=raw.seed)
        )
        return {
            "accuracy": unlabelled if self.accuracy is None else _accuracy(self.accuracy),
            "numeric": self._shares(),
            "calibration": self._calibration(),
            "per_class": [
                {k: or_missing(value, "no example of this class") for k, value in vars(row).items()}
                for row in rows
            ],
            "confusion": _confusion(outcomes),
            **({"notable": notable(raw)} if raw.names else {}),
            "groups": [{"column": c, "value": v, **_accuracy(found)} for c, v, found in groups],
        }

    @property
    def _broken(self) -> Missing:
        count = self.raw.candidate.not_finite()
        return Missing(f"{count} of the shipped model's outputs are NaN or Inf")

    def _shares(self) -> Tree:
        if isnan(self.divergence.mean):
            return dict.fromkeys(("kl_mean", "kl_ucb95"), self._broken)
        few = Missing("needs 2 examples, there is 1")
        upper = few if isnan(self.divergence.ucb95) else self.divergence.ucb95
        return {"kl_mean": self.divergence.mean, "kl_ucb95": upper}

    def _calibration(self) -> Tree:
        keys = ("reference_ece", "candidate_ece", "change_ucb95", "loss_lcb95")
        if self.calibration is None:
            return dict.fromkeys(keys, _UNLABELLED if self.outcomes is None else self._broken)
        return {key: getattr(self.calibration, key.removesuffix("_ece")) for key in keys}


def examine(raw: Measurement, drift: Drift) -> JudgedClasses:
    """Compute the statistics; a network against itself loses nothing, whatever the examples."""
    del drift
    reference, candidate = raw.reference[LOGITS], raw.candidate[LOGITS]
    moved = divergence(reference, candidate)
    if raw.identical:
        moved = replace(moved, lcb95=0.0, ucb95=0.0, identical=True)
    if raw.truth is None:
        return JudgedClasses(raw, moved)
    pair = decisions(reference), decisions(candidate)
    outcomes = Outcomes(raw.truth, *pair, len(raw.labels))
    compared = compare(outcomes, raw.metric, seed=raw.seed)
    drops = class_drops(outcomes, raw.labels)
    calibrated = None
    if np.isfinite(candidate).all():
        calibrated = calibration(raw.truth, reference, candidate, seed=raw.seed)
    if raw.identical:
        compared = replace(compared, ci95_pp=(0.0, 0.0), method=IDENTITY)
        compared = replace(compared, drop_lcb95_pp=0.0, drop_ucb95_pp=0.0)
        if calibrated is not None:
            calibrated = replace(calibrated, change_ucb95=0.0, loss_lcb95=0.0, identical=True)
        drops = tuple(replace(each, upper_pp=0.0, lower_pp=0.0) for each in drops)
    return JudgedClasses(raw, moved, outcomes, compared, calibrated, drops)


MOST_NOTABLE = 12
"""Examples of a kind that a report names."""


def notable(raw: Measurement) -> dict[str, list[dict[str, Any]]]:
    """Name the examples whose decision changed, lost ones first, and the other errors, worst first.

    The worst are those that the candidate is surest of.
    """
    sides = raw.reference[LOGITS], raw.candidate[LOGITS]
    before, after = (decisions(side) for side in sides)
    truth = raw.truth if raw.truth is not None else np.full(len(after), NO_DECISION)
    rows = np.arange(len(after))
    with np.errstate(invalid="ignore"):
        share = softmax(sides[1].astype(np.float64), axis=1)[rows, after]
    share[after == NO_DECISION] = np.nan
    changed, wrong = before != after, (after != truth) & (raw.truth is not None)
    kinds = {
        "changed": rows[changed][np.lexsort((-share[changed], (before != truth)[changed]))],
        "wrong": rows[wrong & ~changed][np.argsort(-share[wrong & ~changed], kind="stable")],
    }

    def name(number: int) -> str | None:
        return None if number == NO_DECISION else raw.labels[number]

    return {
        kind: [
            {
                "example": raw.names[row],
                "label": name(truth[row]),
                "reference": name(before[row]),
                "candidate": name(after[row]),
                "share": None if np.isnan(share[row]) else round(float(share[row]), 4),
            }
            for row in found[:MOST_NOTABLE]
        ]
        for kind, found in kinds.items()
    }


def hold(tried: TrialInput, budget: Budget, drift: Drift) -> TaskTrial:
    """Hold a finite candidate against the limits of classes, before the test set is touched."""
    reference, candidate = tried.reference[LOGITS], tried.candidate[LOGITS]
    moved = divergence(reference, candidate).mean
    missed: list[tuple[str, float]] = []
    if budget.max_kl is not None and moved > budget.max_kl:
        told = f"KL divergence {moved:.2g} of {budget.max_kl:g} allowed"
        missed.append((told, (moved - budget.max_kl) / budget.max_kl))
    rows = len(tried.truth)
    if not rows:
        return TaskTrial(missed=missed)
    pair = decisions(reference[:rows]), decisions(candidate[:rows])
    outcomes = Outcomes(tried.truth, *pair, reference.shape[1])
    comparison = compare(outcomes, tried.metric, seed=tried.seed)
    missed += _missed_parts(tried, outcomes, budget)
    right = round(comparison.candidate * comparison.n)
    row = {
        "accuracy": comparison.candidate,
        "accuracy_ci95": wilson(right, comparison.n) if comparison.metric == "top1" else None,
        "delta_pp": comparison.delta_pp,
    }
    doubt = _doubt(tried, budget, drift, comparison)
    return TaskTrial(-comparison.delta_pp, missed, doubt, row)


def _missed_parts(tried: TrialInput, outcomes: Outcomes, budget: Budget) -> list[tuple[str, float]]:
    """Return the limits on classes and calibration that are missed for sure.

    A class has too few examples of validation, and a calibration error too much noise, for an
    estimate to say so.
    """
    missed: list[tuple[str, float]] = []
    drop, change, rows = budget.max_class_drop_pp, budget.max_ece_change, outcomes.n
    if drop is not None:
        numbers = [str(k) for k in range(outcomes.classes)]
        lost = max(each.lower_pp for each in class_drops(outcomes, numbers))
        if lost > drop:
            told = f"a class loses over {lost:.1f} pp of {drop:g} allowed"
            missed.append((told, lost / drop - 1))
    if change is not None:
        pair = tried.reference[LOGITS][:rows], tried.candidate[LOGITS][:rows]
        worse = calibration(tried.truth, *pair, seed=tried.seed).loss_lcb95
        if worse > change:
            told = f"the calibration error grows by over {worse:.3f} of {change:g} allowed"
            missed.append((told, worse / change - 1))
    return missed


def _doubt(tried: TrialInput, budget: Budget, drift: Drift, comparison: Comparison) -> str:
    """Say why the test set would not decide, empty where it would or no candidate could help."""
    if not drift.flips or not comparison.pairs.discordant:
        return ""
    needed = examples_to_decide(comparison, budget.max_drop_pp)
    if needed is not None and needed <= tried.test_examples:
        return ""
    return (
        f"{drift.flips} of {drift.n} decisions changed: at this rate {tried.test_examples} test "
        "examples would not decide"
    )


def _or(limit: float | None, usual: float) -> float:
    return usual if limit is None else limit


def _accuracy(comparison: Comparison) -> Tree:
    top1, n, pairs = comparison.metric == "top1", comparison.n, comparison.pairs
    no_wilson = Missing("Wilson's interval is one of a proportion, which this metric is not")
    values = {**vars(pairs), **vars(comparison), "mcnemar_p": mcnemar_p(pairs)}
    for name in ("reference", "candidate"):
        values[f"{name}_ci95"] = wilson(round(values[name] * n), n) if top1 else no_wilson
    return {key: values[key] for key in _ACCURACY}


def _confusion(outcomes: Outcomes | None) -> Tree:
    """Cells [label, decision, count] above 0; a full table of 1,000 classes would be 1 M cells."""
    if outcomes is None:
        return {"reference": [], "candidate": []}
    found: Tree = {}
    for name in ("reference", "candidate"):
        counts = confusion(outcomes.truth, getattr(outcomes, name), outcomes.classes)
        rows, columns = np.nonzero(counts)
        found[name] = np.stack([rows, columns, counts[rows, columns]], axis=1).tolist()
    return found
