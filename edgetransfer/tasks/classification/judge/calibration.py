"""G10: how much of its calibration the candidate loses, confidence that is worth what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.gates.gate import Gate, Status, against, apart, held
from edgetransfer.measure.gates.outputs import flips_needed
from edgetransfer.measure.stats.bootstrap import percentile_bounds

BINS = 15
"""Equal bins of confidence, as Guo et al. take."""
RESAMPLES = 2000
_WEIGHTS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Calibration:
    """Expected calibration error (ECE) of both models, fractions from 0 to 1, of `n` examples.

    Args:
        candidate: in the bins of the float model's confidence.
        change_ucb95: one-sided upper bound of the size of the change.
        loss_lcb95: one-sided lower bound of candidate - reference; under 0 where none is shown.
    """

    n: int
    reference: float
    candidate: float
    change_ucb95: float
    loss_lcb95: float
    identical: bool = False


def calibration(
    truth: NDArray[Any], reference: NDArray[Any], candidate: NDArray[Any], *, seed: int
) -> Calibration:
    """Compare the calibration of two models on the same examples.

    The ECE of a few hundred examples is mostly noise (a perfect model of 150 has about 0.1), and
    more so for the better of two, so that the difference of two is no estimate of the change. What
    holds instead: with g the sums over a bin of (right - confidence) over N, and ECE = |g|_1, the
    change is at most |g' - g|_1, in which most noise cancels because examples are paired; and
    ECE' - ECE is at least |sum g'| - |g|_1. Noise moves either away from a claim. The bounds are
    5 % and 95 % percentiles of a paired bootstrap. Source of the ECE: Guo et al., "On calibration
    of modern neural networks", ICML 2017, equation 3: the mean over examples of |accuracy -
    confidence| of the bin they are in.

    Labels are int [N], logits [N, C] and finite; `seed` is of the draws.
    """
    n = len(truth)
    sure, before = _gap(truth, reference)
    _, after = _gap(truth, candidate)
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    place = np.zeros((n, BINS))
    place[np.arange(n), bins] = 1 / n
    gaps = np.concatenate([place * before[:, None], place * after[:, None]], axis=1)
    rng = np.random.default_rng(seed)
    step = max(1, _WEIGHTS_AT_ONCE // n)
    draws = [
        rng.multinomial(n, np.full(n, 1 / n), size=min(step, RESAMPLES - start)) @ gaps
        for start in range(0, RESAMPLES, step)
    ]
    old, new = np.split(np.concatenate(draws), 2, axis=1)
    change = np.abs(new - old).sum(axis=1)
    loss = np.abs(new.sum(axis=1)) - np.abs(old).sum(axis=1)
    mine, theirs = np.split(gaps.sum(axis=0), 2)
    return Calibration(
        n,
        float(np.abs(mine).sum()),
        float(np.abs(theirs).sum()),
        percentile_bounds(change, 0.90)[1],
        percentile_bounds(loss, 0.90)[0],
    )


def _gap(
    truth: NDArray[Any], logits: NDArray[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Confidence [N] of every decision, and right - confidence [N]."""
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    confidence = 1 / np.exp(wide).sum(axis=1)
    return confidence, (wide.argmax(axis=1) == truth) - confidence


def calibration_gate(
    found: Calibration | str, max_ece_change: float, *, named: bool = True
) -> Gate:
    """PASS where the bound of the change lies under the limit, FAIL where a loss is shown over it.

    A flip that was not seen could move the error as far as it moves accuracy, so that fewer
    examples than bound the flips under the limit never pass.

    `found` says why where there is none; the limit is a fraction.
    """
    if isinstance(found, str):
        status: Status = "INCONCLUSIVE" if named else "NOT RUN"
        return held("calibration", status, found, (None, None, ""), decides=named)
    limit = against(f"{max_ece_change:g}", named=named)
    upper, fewest = found.change_ucb95, flips_needed(0.0, max_ece_change) or 0
    bound = f"95 % bound of the change {apart(upper, max_ece_change, 3)}"
    status = "INCONCLUSIVE"
    tail, needed = "", None
    if found.loss_lcb95 > max_ece_change:
        status = "FAIL"
        bound = f"95 % sure of a loss over {apart(found.loss_lcb95, max_ece_change, 3)}"
    elif upper < max_ece_change and (found.n >= fewest or found.identical):
        status = "PASS"
    elif upper < max_ece_change:
        needed = fewest
        tail = f"; {fewest} test examples would show it (there are {found.n})"
    told = (
        f"the error went from {found.reference:.3f} to {found.candidate:.3f} ({bound}){limit}{tail}"
    )
    numbers, examples = (upper, max_ece_change, ""), (needed, fewest)
    return held("calibration", status, told, numbers, decides=named, examples=examples)
