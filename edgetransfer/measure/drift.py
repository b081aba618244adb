"""Measures how far the candidate's logits are from the reference's, whatever the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import StageError
from edgetransfer.measure.metrics import decisions
from edgetransfer.measure.stats.proportions import clopper_pearson_lower, clopper_pearson_upper

CLOSE_DB = 35.0
"""Logits this near to the host's are the same network, whatever computed them."""


@dataclass(frozen=True)
class Drift:
    """Differences of logits [N, C] and of the decisions they give.

    Args:
        agreement: fraction of equal decisions; `flips` counts the others.
        flip_rate_lcb95: one-sided 95 % Clopper-Pearson lower bound; `flip_rate_ucb95` is the upper.
        sqnr_db: signal to quantisation noise, dB; inf where the logits are identical.
        kl_mean: mean KL(softmax reference || softmax candidate), nats.
        kl_lcb95: one-sided 95 % lower bound of its expectation, by Student's t; `kl_ucb95` is the
            upper. Both are nan with one example.
        cosine_mean: mean cosine of the raw logits.
        non_finite: NaN and infinities among the candidate's logits; the numbers above from
            `sqnr_db` on are nan where there is any.
        identical: whether both are the same file, so that no difference has to be bounded.
    """

    n: int
    agreement: float
    flips: int
    flip_rate_lcb95: float
    flip_rate_ucb95: float
    sqnr_db: float
    kl_mean: float
    kl_lcb95: float
    kl_ucb95: float
    cosine_mean: float
    non_finite: int
    identical: bool = False

    def of_itself(self) -> Drift:
        """Return the drift of a network from itself, whose bounds need no examples."""
        bounds = ("flip_rate_lcb95", "flip_rate_ucb95", "kl_lcb95", "kl_ucb95")
        nothing: dict[str, Any] = dict.fromkeys(bounds, 0.0)
        return replace(self, **nothing, identical=True)


def measure_drift(reference: NDArray[Any], candidate: NDArray[Any]) -> Drift:
    """Compare the logits [N, C] of two models on the same N examples.

    Raises:
        ValueError: the shapes differ or are empty.
        StageError: the reference is not finite.
    """
    if reference.ndim != 2 or reference.shape != candidate.shape or 0 in reference.shape:
        msg = f"logits need one shape [N, C], found {reference.shape} and {candidate.shape}"
        raise ValueError(msg)
    if not np.isfinite(reference).all():
        raise StageError(
            "the float reference gives NaN or Inf, so nothing can be held against it",
            where="measure",
            found=f"{int(np.sum(~np.isfinite(reference)))} such logits of {reference.size}",
            fix="check the model and its preprocessing in float first",
        )
    n = len(reference)
    flips = int(np.sum(decisions(reference) != decisions(candidate)))
    non_finite = int(np.sum(~np.isfinite(candidate)))
    kl = np.full(n, nan) if non_finite else kl_each(reference, candidate)
    low, high = mean_bounds(kl)
    return Drift(
        n=n,
        agreement=(n - flips) / n,
        flips=flips,
        flip_rate_lcb95=clopper_pearson_lower(flips, n),
        flip_rate_ucb95=clopper_pearson_upper(flips, n),
        sqnr_db=nan if non_finite else sqnr_db(reference, candidate),
        kl_mean=float(np.mean(kl)),
        kl_lcb95=low,
        kl_ucb95=high,
        cosine_mean=nan if non_finite else cosine_mean(reference, candidate),
        non_finite=non_finite,
    )


def sqnr_db(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Signal to quantisation noise ratio of logits [N, C] in dB, pooled over the examples.

    10 log10(sum reference^2 / sum (reference - candidate)^2) after each row of both has lost its
    own mean over the classes: an offset common to all classes changes no decision and no
    probability, so it is neither signal nor noise. The ratio itself is that of
    `onnxruntime.quantization.qdq_loss_debug.compute_signal_to_quantization_noice_ratio`.

    inf where there is no noise, -inf where there is noise but no signal.

    >>> logits = np.array([[1.0, -1.0], [2.0, -2.0]])
    >>> round(sqnr_db(logits, 1.1 * logits + 5), 6)
    20.0
    """
    wanted, got = _centred(reference), _centred(candidate)
    signal, noise = float(np.sum(wanted**2)), float(np.sum((wanted - got) ** 2))
    if noise == 0:
        return inf
    return -inf if signal == 0 else float(10 * np.log10(signal / noise))


def kl_each(reference: NDArray[Any], candidate: NDArray[Any]) -> NDArray[np.float64]:
    """KL(softmax reference || softmax candidate) of every example in nats, logits [N, C].

    Source: Kullback and Leibler (1951); that its mean follows flips where accuracy does not:
    Dutta et al., "Accuracy is not all you need", NeurIPS 2024, arXiv 2407.09141.

    >>> logits = np.log(np.array([[0.5, 0.5]]))
    >>> kl_each(logits, np.log(np.array([[0.25, 0.75]]))).round(4).tolist()  # ln(2 / sqrt 3)
    [0.1438]
    """
    wanted, got = _log_softmax(reference), _log_softmax(candidate)
    divergence = np.sum(np.exp(wanted) * (wanted - got), axis=1)
    return np.asarray(np.maximum(0.0, divergence))


def mean_bounds(values: NDArray[np.float64]) -> tuple[float, float]:
    """One-sided 95 % bounds of the mean that values [N] were drawn from, by Student's t.

    Lower and upper bound, both nan with one value.

    >>> [round(bound, 3) for bound in mean_bounds(np.array([1.0, 2.0, 3.0]))]
    [0.314, 3.686]
    """
    from scipy.special import stdtrit

    n = len(values)
    if n < 2:
        return nan, nan
    reach = float(stdtrit(n - 1, 0.95)) * float(np.std(values, ddof=1)) / n**0.5
    return float(np.mean(values)) - reach, float(np.mean(values)) + reach


def cosine_mean(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Mean over examples of the cosine between raw (not centred) logits [N, C].

    Two zero rows are equal (1), a zero row and another are not alike (0).

    >>> cosine_mean(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]]))
    0.0
    """
    wanted, got = reference.astype(np.float64), candidate.astype(np.float64)
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    both_zero = ~wanted.any(axis=1) & ~got.any(axis=1)
    cosines = np.sum(wanted * got, axis=1) / np.where(lengths == 0, 1, lengths)
    return float(np.mean(np.where(both_zero, 1.0, np.clip(cosines, -1, 1))))


def _centred(logits: NDArray[Any]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    return np.asarray(wide - wide.mean(axis=1, keepdims=True))


def _log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True)))
