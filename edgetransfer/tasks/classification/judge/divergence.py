"""How far the shares of the classes move: the Kullback-Leibler divergence, and its gate."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isnan, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.measure.gates.gate import Gate, Status, against, held, more, not_run
from edgetransfer.measure.gates.outputs import BROKEN, flips_needed
from edgetransfer.measure.stats.ratio import student


@dataclass(frozen=True)
class Divergence:
    """Mean KL(softmax reference || softmax candidate) over `n` examples, in nats.

    Args:
        mean: nan where the candidate gives NaN or infinities.
        lcb95: one-sided 95 % lower bound of its expectation, by Student's t; `ucb95` is the upper.
            Both are nan with one example.
        identical: whether both are the same file, so that nothing has to be bounded.
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
