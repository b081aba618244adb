"""Bounds how much of its calibration the candidate loses: confidence that is worth what it says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

    def of_itself(self) -> Calibration:
        """Return the change of a network against itself, which needs no examples."""
        return replace(self, change_ucb95=0.0, loss_lcb95=0.0, identical=True)


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
