"""How quantising moves the shares of the classes: divergence and calibration, with their gates."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.gates import (
    BROKEN,
    Gate,
    Status,
    against,
    apart,
    flips_needed,
    held,
    more,
    not_run,
)
from edgetransfer.measure.stats.intervals import percentile_bounds, student


@dataclass(frozen=True)
class Divergence:
    """Mean KL(softmax reference || softmax candidate) over `n` examples, in nats.

    It is nan where the candidate gives NaN or infinities; `lcb95` and `ucb95` are one-sided 95 %
    bounds of its expectation, by Student's t, nan with one example. Of `identical` files nothing
    has to be bounded.
    """

    n: int
    mean: float
    lcb95: float
    ucb95: float
    identical: bool = False


def divergence(reference: NDArray[Any], candidate: NDArray[Any]) -> Divergence:
    """Compare the shares that logits [N, C] of two models give to the same N examples."""
    n = len(reference)
    if not np.isfinite(candidate).all():
        return Divergence(n, nan, nan, nan)
    each = kl_each(reference, candidate)
    return Divergence(n, float(np.mean(each)), *mean_bounds(each))


def kl_each(reference: NDArray[Any], candidate: NDArray[Any]) -> NDArray[np.float64]:
    """KL(softmax reference || softmax candidate) of every example in nats, logits [N, C].

    Source: Kullback and Leibler (1951); that its mean follows flips where accuracy does not:
    Dutta et al., "Accuracy is not all you need", NeurIPS 2024, arXiv 2407.09141.

    >>> logits = np.log(np.array([[0.5, 0.5]]))
    >>> kl_each(logits, np.log(np.array([[0.25, 0.75]]))).round(4).tolist()  # ln(2 / sqrt 3)
    [0.1438]
    """
    from scipy.special import log_softmax

    wanted, got = (log_softmax(each.astype(np.float64), axis=1) for each in (reference, candidate))
    divergence = np.sum(np.exp(wanted) * (wanted - got), axis=1)
    return np.asarray(np.maximum(0.0, divergence))


def mean_bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    """One-sided 95 % bounds of the mean that values [N] were drawn from, by Student's t.

    Lower and upper bound, both nan with one value.

    >>> [round(bound, 3) for bound in mean_bounds(np.array([1.0, 2.0, 3.0]))]
    [0.314, 3.686]
    """
    n = len(values)
    if n < 2:
        return nan, nan
    reach = student(n - 1, 0.90) * float(np.std(values, ddof=1)) / n**0.5
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def kl(found: Divergence, max_kl: float, *, named: bool = True) -> Gate:
    """Holds the bounds of the mean Kullback-Leibler divergence against the limit, in nats.

    A decision that jumps costs about 1 nat. So rare a jump that it was not seen could still lift
    the mean over the limit, so that fewer examples than bound it never pass.
    """
    limit = against(f"{max_kl:g}", named=named)
    value, upper, lower = found.mean, found.ucb95, found.lcb95
    if isnan(value):
        if not named:
            return not_run("kl", BROKEN, decides=False)
        return held("kl", "FAIL", f"{BROKEN}{limit}", (None, max_kl, "nats"), decides=named)
    fewest = flips_needed(0.0, min(max_kl, 0.5)) or 0
    head = f"mean {value:.2g}"
    status: Status = "PASS"
    needed = None
    if found.identical:
        tail = f" (the same network){limit}"
    elif found.n < 2:
        status, tail = "INCONCLUSIVE", f"{limit}; a bound needs 2 examples, there is 1"
    elif upper < max_kl:
        tail = f" (95 % bound {upper:.2g}){limit}"
        if found.n < fewest:
            status, needed = "INCONCLUSIVE", fewest
            tail += f"; {fewest} test examples would show it (there are {found.n})"
    elif lower > max_kl:
        status, tail = "FAIL", f" (95 % sure of over {lower:.2g}){limit}"
    else:
        status = "INCONCLUSIVE"
        needed = _examples_needed(found, max_kl)
        tail = f" (95 % bound {upper:.2g}){limit}; {more(needed, found.n, 'this spread')}"
    numbers, examples = (upper if found.n > 1 else None, max_kl, "nats"), (needed, fewest)
    return held("kl", status, head + tail, numbers, decides=named, examples=examples)


def _examples_needed(found: Divergence, max_kl: float) -> int | None:
    """Examples at which the bound would clear the limit: its distance shrinks with the root of n.

    None where the mean lies on the limit.
    """
    distance = abs(max_kl - found.mean)
    if distance == 0:
        return None
    return max(found.n + 1, ceil(found.n * ((found.ucb95 - found.mean) / distance) ** 2))


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
