"""Measures how far the candidate's logits are from the reference's, whatever the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, nan
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import StageError
from edgetransfer.measure.stats.proportions import clopper_pearson_lower, clopper_pearson_upper

CLOSE_DB = 35.0
"""Logits this near to the host's are the same network, whatever computed them."""


class Decision(Protocol):
    """How a task decides by its outputs.

    Attributes:
        shift_invariant: whether one number, added to all outputs of an example, changes nothing,
            as with softmax: then an offset is neither signal nor noise.
    """

    shift_invariant: bool

    def changed(
        self, reference: NDArray[Any], candidate: NDArray[Any], tie: float = 0.0
    ) -> NDArray[np.bool_]:
        """Tell of which examples the decision changed, of outputs [N, C] of two models: bool [N].

        What a move of every output by `tie` explains is no change.
        """


@dataclass(frozen=True)
class Drift:
    """Differences of outputs [N, C] and of the decisions they give.

    Args:
        agreement: fraction of equal decisions; `flips` counts the others.
        flip_rate_lcb95: one-sided 95 % Clopper-Pearson lower bound; `flip_rate_ucb95` is the upper.
        sqnr_db: signal to quantisation noise, dB; inf where the logits are identical.
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
    cosine_mean: float
    non_finite: int
    identical: bool = False

    def of_itself(self) -> Drift:
        """Return the drift of a network from itself, whose bounds need no examples."""
        return replace(self, flip_rate_lcb95=0.0, flip_rate_ucb95=0.0, identical=True)


def measure_drift(reference: NDArray[Any], candidate: NDArray[Any], decision: Decision) -> Drift:
    """Compare the outputs [N, C] of two models on the same N examples.

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
    flips = int(np.count_nonzero(decision.changed(reference, candidate)))
    non_finite = int(np.sum(~np.isfinite(candidate)))
    return Drift(
        n=n,
        agreement=(n - flips) / n,
        flips=flips,
        flip_rate_lcb95=clopper_pearson_lower(flips, n),
        flip_rate_ucb95=clopper_pearson_upper(flips, n),
        sqnr_db=nan
        if non_finite
        else sqnr_db(reference, candidate, shift_invariant=decision.shift_invariant),
        cosine_mean=nan if non_finite else cosine_mean(reference, candidate),
        non_finite=non_finite,
    )


def sqnr_db(
    reference: NDArray[Any], candidate: NDArray[Any], *, shift_invariant: bool = True
) -> float:
    """Signal to quantisation noise ratio of outputs [N, C] in dB, pooled over the examples.

    10 log10(sum reference^2 / sum (reference - candidate)^2), after what decides nothing was taken
    off: each row's own mean where the decision is shift-invariant; else, of both, the mean of the
    reference. The ratio itself is that of
    `onnxruntime.quantization.qdq_loss_debug.compute_signal_to_quantization_noice_ratio`.

    inf where there is no noise, -inf where there is noise but no signal.
    """
    wanted, got = reference.astype(np.float64), candidate.astype(np.float64)
    if shift_invariant:
        wanted -= wanted.mean(axis=1, keepdims=True)
        got -= got.mean(axis=1, keepdims=True)
    else:
        centre = wanted.mean(axis=0)
        wanted, got = wanted - centre, got - centre
    signal, noise = float(np.sum(wanted**2)), float(np.sum((wanted - got) ** 2))
    if noise == 0:
        return inf
    return -inf if signal == 0 else float(10 * np.log10(signal / noise))


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
