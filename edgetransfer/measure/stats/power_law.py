"""Extrapolates a learning curve by an inverse power law, with an interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

FARTHEST = 4.0
"""Times the largest size measured up to which a curve is extrapolated."""
RESAMPLES = 500
MISFIT = 0.05
"""Standard deviation, as a share of the error, by which a curve leaves the form a doubling."""
LEAST = 0.2
"""Doublings that the last size counts as, so that no error is known without any doubt."""
PICKED = 4000
"""Combinations drawn by their weight."""
_EXPONENTS = np.linspace(0.05, 1.0, 20)
_SHARES = np.linspace(0.0, 1.0, 21)
_ERRORS = np.linspace(-4.0, 4.0, 33)


@dataclass(frozen=True)
class LabelGain:
    """What more examples should give: points of accuracy, the median, and its interval."""

    size: int
    gain_pp: float
    ci95_pp: tuple[float, float]


@dataclass(frozen=True)
class Extrapolation:
    """What a curve says: the mean share wrong at each size, [S], and what sizes asked for gain.

    It falls where the error at the largest size is surely below that at half of it or less: the 95
    % bootstrap interval of the difference lies above 0. Without, the gains are bounds, no forecast.
    """

    error: tuple[float, ...]
    falls: bool
    gains: tuple[LabelGain, ...]


def extrapolate(
    sizes: NDArray[Any], wrong: NDArray[Any], now: int, wanted: Sequence[int], *, seed: int = 0
) -> Extrapolation:
    """Fit error(n) = c + g (n / n_S)^-b and say what other sizes should gain against `now`.

    The form is that of Hestness et al. 2017 ("Deep learning scaling is predictable, empirically");
    Viering and Loog 2023 ("The shape of learning curves: a review") survey it. Five points do not
    tell its three parameters, so none are reported. Every combination on a grid of the exponent b
    (0.05 to 1, as 1 / n is the parametric rate), the share c of the last error that never goes away
    (0 to 1), and that error itself is weighted by how well it fits; the interval is of the weighted
    gains. The weight is a Gaussian likelihood with the covariance of the mean errors under a
    bootstrap over draws and examples: all sizes are judged on the same examples, so that their
    errors move together.

    Sizes are int [S], ascending, at least 3; `wrong` is float [D, S, M], 0 or 1, by draw, size and
    example judged. ValueError where a wanted size is over 4 times the largest.
    """
    if max(wanted) > FARTHEST * sizes[-1]:
        msg = f"{max(wanted)} is more than {FARTHEST} times the largest size, {sizes[-1]}"
        raise ValueError(msg)
    error = wrong.mean(axis=(0, 2))
    draws = _resampled(wrong, seed)
    weights, (errors, floors, exponents) = _posterior(sizes, error, draws)
    generator = np.random.default_rng(seed)
    picked = generator.choice(len(weights), PICKED, p=weights)
    errors, floors, exponents = errors[picked], floors[picked], exponents[picked]
    off = MISFIT * generator.normal(size=PICKED)

    def expected(size: int) -> NDArray[Any]:
        return np.asarray(floors + (errors - floors) * (size / sizes[-1]) ** -exponents)

    start = expected(now)
    gains = []
    for size in wanted:
        drawn = start - expected(size) + off * start * abs(np.log2(size / now))
        low, middle, high = map(float, np.quantile(100 * drawn, (0.025, 0.5, 0.975)))
        gains.append(LabelGain(size, middle, (low, high)))
    half = int(np.searchsorted(sizes, sizes[-1] / 2, side="right")) - 1
    falls = bool(np.quantile(draws[:, max(half, 0)] - draws[:, -1], 0.025) > 0)
    return Extrapolation(tuple(map(float, error)), falls, tuple(gains))


def _resampled(wrong: NDArray[Any], seed: int) -> NDArray[Any]:
    """Return mean errors [R, S] where draws and examples are drawn anew."""
    draws, _, examples = wrong.shape
    generator = np.random.default_rng(seed)
    parts = []
    for _ in range(RESAMPLES):
        of_draws = generator.multinomial(draws, np.full(draws, 1 / draws)) / draws
        of_examples = generator.multinomial(examples, np.full(examples, 1 / examples)) / examples
        parts.append(np.einsum("d,dsm,m->s", of_draws, wrong, of_examples, optimize=True))
    return np.stack(parts)


def _posterior(
    sizes: NDArray[Any], error: NDArray[Any], draws: NDArray[Any]
) -> tuple[NDArray[Any], tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Return weights [G], and the last error, the floor and the exponent [G] they are of."""
    doublings = np.maximum(np.log2(sizes[-1] / sizes), LEAST)
    covariance = np.cov(draws.T) + np.diag((MISFIT * np.maximum(error, 1e-3) * doublings) ** 2)
    spread = float(np.sqrt(covariance[-1, -1]))
    last = np.clip(error[-1] + spread * _ERRORS, 1e-4, 1.0)
    errors, shares, exponents = (
        axis.ravel() for axis in np.meshgrid(last, _SHARES, _EXPONENTS, indexing="ij")
    )
    floors = shares * errors
    ratio = sizes[None, :] / sizes[-1]
    said = floors[:, None] + (errors - floors)[:, None] * ratio ** -exponents[:, None]
    off = said - error
    distance = np.einsum("gs,st,gt->g", off, np.linalg.inv(covariance), off, optimize=True)
    weights = np.exp(-0.5 * (distance - distance.min()))
    return weights / weights.sum(), (errors, floors, exponents)
