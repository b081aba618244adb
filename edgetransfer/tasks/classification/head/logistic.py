"""Multinomial logistic regression over a whole path of strengths, fast for wide features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Array = np.ndarray[Any, Any]
MAX_ITERATIONS = 200
FLAT = 1e-7
"""Largest component of a gradient, per example, that float32 does not tell from none."""


@dataclass(frozen=True)
class Fits:
    """F fits of the same classes, each on its share of M rows.

    Attributes:
        rows: int [M], indices into the path's features.
        labels: int [M], classes from 0 to C - 1, each occurring in every fit.
        counts: float [F, M], how much a row counts in a fit; 0 leaves it out.
        offsets: float32 [F, C, M], added to the logits while fitting: what is known before.
    """

    rows: Array
    labels: Array
    counts: Array
    offsets: Array | None = None

    @property
    def sizes(self) -> Array:
        """How many rows each fit has, int [F]."""
        return np.asarray(np.count_nonzero(self.counts, axis=1))


class LogisticPath:
    """Fits ``min_W C * sum(cross-entropy) + |W|^2 / 2``, intercepts unpenalised.

    That is the objective of scikit-learn's multinomial `LogisticRegression` (of its binary one at
    half the C, for two classes have two columns here). The L2 penalty does not care about
    rotations, so the problem is solved in the basis of the features' principal components, where
    its Hessian is nearly diagonal, and each coordinate is divided by the root of that diagonal
    (Böhning 1992, "Multinomial logistic regression algorithm", bounds the softmax Hessian by a
    multiple of the Gram matrix). Fits side by side are one problem, so that their thin products
    with the features become a wide one. Features are float [N, D], centred; the basis is taken from
    these.
    """

    def __init__(self, features: Array) -> None:
        energy, rotation = _principal(features.astype(np.float64))
        kept = energy > 1e-12 * max(float(energy.max()), 1e-60)
        self._rotation = rotation[kept].astype(np.float32)  # [R, D]
        self._variance = (energy[kept] / len(features)).astype(np.float32)
        self._rotated = features.astype(np.float32) @ self._rotation.T

    def walk(
        self, fits: Fits, strengths: Iterable[float], *, tolerance: float = 1e-5
    ) -> Iterator[tuple[Array, Array]]:
        """Fit with one C after the other, strictly ascending, as it is asked for.

        Each begins where the three before it point to, see `_predicted`. The tolerance is what one
        more iteration takes off the mean objective of the fits, per example, at which they stop:
        nats, or a share of it where it is more than 1. How far they are from the minimum then
        depends less on the number of features than where a component of the gradient decides.

        Yields weight float32 [F, C, D] and bias float32 [F, C] for each strength, offsets not in
        them.
        """
        from scipy.optimize import minimize

        problem = _Problem(self._rotated[fits.rows], fits)
        past: list[tuple[float, Array]] = []
        for strength in strengths:
            stretch = self._stretch(1 / (strength * fits.sizes), problem.shape[1])
            guess = _predicted(past, strength) if past else np.zeros(problem.shape)
            solved = minimize(
                problem.at(strength, stretch),
                (guess / stretch).ravel(),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": MAX_ITERATIONS, "ftol": tolerance, "gtol": FLAT},
            )
            found = solved.x.reshape(problem.shape).astype(np.float32) * stretch
            past = [*past[-2:], (strength, found)]
            yield found[:, :, :-1] @ self._rotation, found[:, :, -1].copy()

    def _stretch(self, penalties: Array, classes: int) -> Array:
        """Return [F, 1, R + 1], one over the root of the Hessian's diagonal, the bias last."""
        share = (classes - 1) / classes**2  # p (1 - p) where every class is equally likely
        weights = self._variance * share + penalties[:, None]
        diagonal = np.concatenate([weights, np.full((len(penalties), 1), share)], axis=1)
        stretch: Array = (1.0 / np.sqrt(diagonal))[:, None, :].astype(np.float32)
        return stretch


def _predicted(past: list[tuple[float, Array]], strength: float) -> Array:
    """Return where the parabola through the last three solutions leads, over the logarithm of C.

    Through two it is a line, and of one it is that one. Source: the predictor step of Park and
    Hastie 2007, "L1-regularization path algorithm for generalized linear models", section 2, which
    follows the tangent. Against beginning at the last solution the parabola saved a quarter to a
    half of the evaluations on four sets of features.

    >>> past = [(1.0, np.array([1.0])), (10.0, np.array([2.0])), (100.0, np.array([4.0]))]
    >>> _predicted(past, 1000.0), _predicted(past[1:], 1000.0), _predicted(past[2:], 1000.0)
    (array([7.]), array([6.]), array([4.]))
    """
    places = np.log([c for c, _ in past])
    powers = np.vander(places, increasing=True).T
    shares = np.linalg.solve(powers, np.log(strength) ** np.arange(len(past)))
    guess: Array = np.tensordot(shares, np.stack([found for _, found in past]), axes=1)
    return guess


class _Problem:
    """The mean objective of all fits and its gradient, in stretched coordinates.

    Parameters, flattened, are [F, C, R + 1], the last the bias: features have a column of ones.
    Logits of the labels are taken off example by example, not multiplied out once for all, which
    would be faster: near the minimum what is left is small, and float32 would lose it.
    """

    def __init__(self, features: Array, fits: Fits) -> None:
        count, classes = len(features), int(fits.labels.max()) + 1
        ones = np.ones((count, 1), dtype=np.float32)
        self._features = torch.from_numpy(np.concatenate([features, ones], axis=1))
        self.shape = (len(fits.counts), classes, features.shape[1] + 1)
        self._sizes, self._offsets = fits.sizes, fits.offsets
        shares = fits.counts / fits.sizes[:, None] / len(fits.counts)
        self._shares = shares.astype(np.float32)
        self._truth = np.zeros((classes, count), dtype=np.float32)
        self._truth[fits.labels, np.arange(count)] = 1.0

    def at(self, strength: float, stretch: Array) -> Callable[[Array], tuple[float, Array]]:
        """Return the problem for one C, in coordinates stretched by [F, 1, R + 1]."""
        fits, _, columns = self.shape
        penalties = np.zeros((fits, 1, columns), dtype=np.float32)
        penalties[:, :, :-1] = (1 / (strength * self._sizes * fits))[:, None, None]

        def evaluate(flat: Array) -> tuple[float, Array]:
            weight = flat.reshape(self.shape).astype(np.float32) * stretch
            loss, error = self._losses(weight)
            gradient = self._product(error, self._features)
            shrunk = penalties * weight
            gradient += shrunk
            gradient *= stretch
            return loss + _inner(weight, shrunk) / 2, gradient.ravel().astype(np.float64)

        return evaluate

    def _losses(self, weight: Array) -> tuple[float, Array]:
        """Return the loss without penalty, and its derivative by the logits, [F, C, M]."""
        logits = self._product(weight, self._features.T)
        if self._offsets is not None:
            logits += self._offsets
        logits -= logits.max(axis=1, keepdims=True)
        true = np.einsum("fcm,cm->fm", logits, self._truth)
        error = np.exp(logits, out=logits)
        total = error.sum(axis=1)
        loss = _inner(np.log(total) - true, self._shares)
        error /= total[:, None, :]
        error -= self._truth
        error *= self._shares[:, None, :]
        return loss, error

    def _product(self, stacked: Array, features: torch.Tensor) -> Array:
        """Return [F, C, A] times [A, B] as one product."""
        fits, classes, _ = self.shape
        flat = torch.from_numpy(stacked.reshape(fits * classes, len(features)))
        return (flat @ features).numpy().reshape(fits, classes, features.shape[1])


def _inner(one: Array, other: Array) -> float:
    return float((one * other).sum(dtype=np.float64))


def _principal(features: Array) -> tuple[Array, Array]:
    """Return the squared singular values [R] of features [N, D], and their directions [R, D].

    The smaller Gram matrix is taken apart, in a third or less of the time of the matrix itself:
    directions that its squares make inexact are those that are dropped as constant.
    """
    rows, columns = features.shape
    if rows > columns:
        energy, directions = np.linalg.eigh(features.T @ features)
        return energy, directions.T
    energy, combined = np.linalg.eigh(features @ features.T)
    return energy, combined.T @ features / np.sqrt(np.maximum(energy, 1e-300))[:, None]
