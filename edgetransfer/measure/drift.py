"""Measures how far the shipped model's outputs are from the reference's, whatever the labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgetransfer.errors import StageError
from edgetransfer.measure.stats.intervals import clopper_pearson_lower, clopper_pearson_upper

if TYPE_CHECKING:
    from edgetransfer.agent.outputs import Outputs

CLOSE_DB = 35.0
"""Outputs this near to the host's are the same network, whatever computed them."""


NO_TIES: Mapping[str, float] = {}


class Decision(Protocol):
    """How a task decides by its outputs.

    Where it is shift-invariant, as with softmax, one number added to all outputs of an example
    changes nothing: then an offset is neither signal nor noise.
    """

    shift_invariant: bool

    def changed(
        self, reference: Outputs, candidate: Outputs, ties: Mapping[str, float] = NO_TIES
    ) -> NDArray[np.bool_]:
        """Tell of which examples the decision changed, of the outputs of two models: bool [N].

        What is explained by a move of every number of an output by its tie is no change.
        """


@dataclass(frozen=True)
class Drift:
    """Differences of the outputs of N examples, and of the decisions they give.

    Of several outputs the noise and the cosine are those of the worst; `by_output` has the noise of
    each. `agreement` is the fraction of equal decisions, `flips` counts the others, and the bounds
    are one-sided 95 % Clopper-Pearson ones. `sqnr_db` is inf where the outputs are identical, and
    nan, as the mean cosine of the raw outputs is, where any is not finite. Of `identical` files no
    difference has to be bounded.
    """

    n: int
    agreement: float
    flips: int
    flip_rate_lcb95: float
    flip_rate_ucb95: float
    sqnr_db: float
    cosine_mean: float
    non_finite: int
    by_output: Mapping[str, float] = field(default_factory=dict)
    identical: bool = False

    def of_itself(self) -> Drift:
        """Return the drift of a network from itself, whose bounds need no examples."""
        return replace(self, flip_rate_lcb95=0.0, flip_rate_ucb95=0.0, identical=True)


def measure_drift(reference: Outputs, candidate: Outputs, decision: Decision) -> Drift:
    """Compare outputs of the same N examples; ValueError of shapes, StageError if not finite."""
    both = reference, candidate
    shapes, other = ({name: rows.shape for name, rows in each.items()} for each in both)
    if shapes != other or not reference.size or len({shape[0] for shape in shapes.values()}) > 1:
        msg = f"both models need the same outputs [N, ...], found {shapes} and {other}"
        raise ValueError(msg)
    if broken := reference.not_finite():
        raise StageError(
            "the float reference gives NaN or Inf, so nothing can be held against it",
            where="measure",
            found=f"{broken} such outputs of {reference.size}",
            fix="check the model and its preprocessing in float first",
        )
    n, free = reference.examples, decision.shift_invariant
    flips = int(np.count_nonzero(decision.changed(reference, candidate)))
    non_finite, noise, cosine = candidate.not_finite(), {}, nan
    if not non_finite:
        noise = {k: sqnr_db(reference[k], candidate[k], shift_invariant=free) for k in reference}
        cosine = min(cosine_mean(reference[k], candidate[k]) for k in reference)
    return Drift(
        n=n,
        agreement=(n - flips) / n,
        flips=flips,
        flip_rate_lcb95=clopper_pearson_lower(flips, n),
        flip_rate_ucb95=clopper_pearson_upper(flips, n),
        sqnr_db=min(noise.values(), default=nan),
        cosine_mean=cosine,
        non_finite=non_finite,
        by_output=noise,
    )


def sqnr_db(
    reference: NDArray[Any], candidate: NDArray[Any], *, shift_invariant: bool = True
) -> float:
    """Signal to quantisation noise ratio of one output [N, ...] in dB, pooled over the examples.

    10 log10(sum reference^2 / sum (reference - candidate)^2), after what decides nothing was taken
    off: each row's own mean where the decision is shift-invariant; else, of both, the mean of the
    reference. The ratio itself is that of
    `onnxruntime.quantization.qdq_loss_debug.compute_signal_to_quantization_noice_ratio`.

    inf where there is no noise, -inf where there is noise but no signal.
    """
    wanted, got = _flat(reference), _flat(candidate)
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


def worst_sqnr_db(reference: Outputs, candidate: Outputs, *, shift_invariant: bool) -> float:
    """Return the ratio of the output that has most noise, see `sqnr_db`."""
    pairs = [(reference[name], candidate[name]) for name in reference]
    return min(sqnr_db(*each, shift_invariant=shift_invariant) for each in pairs)


def farthest(first: Outputs, second: Outputs) -> tuple[str, float, float]:
    """Return the output that differs most over its range: its name, by how much, and its range.

    A range of 0 counts as 1; a difference that is not finite is the largest.

    >>> from edgetransfer.agent.outputs import Outputs
    >>> one = Outputs({"a": np.array([[0.0], [8.0]]), "b": np.array([[0.0], [1.0]])})
    >>> farthest(one, Outputs({"a": one["a"] + 2, "b": one["b"] + 0.5}))
    ('b', 0.5, 1.0)
    """
    found = []
    for name, array in first.items():
        span = float(np.ptp(array)) or 1.0
        moved = float(np.abs(array - second[name]).max())
        found.append((moved / span if isfinite(moved) else inf, name, moved, span))
    return max(found, key=lambda each: each[0])[1:]


def _flat(rows: NDArray[Any]) -> NDArray[np.float64]:
    return rows.reshape(len(rows), -1).astype(np.float64)


def cosine_mean(reference: NDArray[Any], candidate: NDArray[Any]) -> float:
    """Mean over examples of the cosine between raw (not centred) outputs [N, ...].

    Two zero rows are equal (1), a zero row and another are not alike (0).

    >>> cosine_mean(np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]]))
    0.0
    """
    wanted, got = _flat(reference), _flat(candidate)
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    both_zero = ~wanted.any(axis=1) & ~got.any(axis=1)
    cosines = np.sum(wanted * got, axis=1) / np.where(lengths == 0, 1, lengths)
    return float(np.mean(np.where(both_zero, 1.0, np.clip(cosines, -1, 1))))
