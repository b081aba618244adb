"""Multinomial logistic regression over a whole path of strengths, fast for wide features.

It does not choose the strength: `probe` cross-validates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Array = np.ndarray[Any, Any]

MAX_ITERATIONS = 200


@dataclass(frozen=True)
class Beside:
    """What goes into the loss of M rows beside their features and labels.

    Attributes:
        offsets: float32 [M, C], added to the logits while fitting: what is known before.
        weights: float [M], how much a row counts; all alike without.
    """

    offsets: Array | None = None
    weights: Array | None = None


NOTHING = Beside()


class LogisticPath:
    """Fits ``min_W C * sum(cross-entropy) + |W|^2 / 2``, intercepts unpenalised.

    That is the objective of scikit-learn's multinomial `LogisticRegression` (of its binary one at
    half the C, for two classes have two columns here). The L2 penalty does not care about
    rotations, so the problem is solved in the basis of the features' principal components, where
    its Hessian is nearly diagonal, and each coordinate is divided by the root of that diagonal
    (Böhning 1992, "Multinomial logistic regression algorithm", bounds the softmax Hessian by a
    multiple of the Gram matrix). On 2160 x 1280 features of 10 classes, one thread, a fit at
    C = 0.1 takes 0.4 s against scikit-learn's 0.9 s and ends at a smaller loss.

    Args:
        features: float [N, D], centred; the basis is taken from these.
    """

    def __init__(self, features: Array) -> None:
        energy, rotation = _principal(features.astype(np.float64))
        kept = energy > 1e-12 * max(float(energy.max()), 1e-60)
        self._rotation = rotation[kept].astype(np.float32)  # [R, D]
        self._variance = (energy[kept] / len(features)).astype(np.float32)
        self._rotated = features.astype(np.float32) @ self._rotation.T

    def fit(
        self, rows: Array, labels: Array, strengths: Iterable[float], *, tolerance: float = 1e-4
    ) -> dict[float, tuple[Array, Array]]:
        """Fit with every strength, see `walk`."""
        path = sorted(strengths)
        return dict(zip(path, self.walk(rows, labels, path, tolerance=tolerance), strict=True))

    def walk(
        self,
        rows: Array,
        labels: Array,
        strengths: Iterable[float],
        *,
        tolerance: float = 1e-4,
        beside: Beside = NOTHING,
    ) -> Iterator[tuple[Array, Array]]:
        """Fit on some of the rows, each strength starting from the one before, as it is asked for.

        Args:
            rows: int [M], indices into the features.
            labels: int [M], classes from 0 to C - 1, each occurring.
            strengths: values of C, ascending.
            tolerance: largest component of the gradient, per example, at which a fit stops.
            beside: what else goes into the loss.

        Yields:
            Weight float32 [C, D] and bias float32 [C] for each strength, offsets not in them.
        """
        from scipy.optimize import minimize

        chosen = self._rotated[rows]
        count, classes = len(rows), int(labels.max()) + 1
        truth = np.zeros((count, classes), dtype=np.float32)
        truth[np.arange(count), labels] = 1.0
        weight = np.zeros((chosen.shape[1] + 1, classes), dtype=np.float32)
        for strength in strengths:
            penalty = 1.0 / (strength * count)
            stretch = self._stretch(penalty, classes)
            problem = _Problem(chosen, truth, penalty, stretch, beside)
            solved = minimize(
                problem,
                (weight / stretch).ravel(),
                jac=True,
                method="L-BFGS-B",
                options={"maxiter": MAX_ITERATIONS, "gtol": tolerance, "ftol": 1e-12},
            )
            weight = solved.x.reshape(weight.shape).astype(np.float32) * stretch
            yield weight[:-1].T @ self._rotation, weight[-1].copy()

    def _stretch(self, penalty: float, classes: int) -> Array:
        """Return [R + 1, 1]: one over the root of the Hessian's diagonal; the last is the bias."""
        share = (classes - 1) / classes**2  # p (1 - p) where every class is equally likely
        diagonal = np.append(self._variance * share + penalty, share)
        stretch: Array = (1.0 / np.sqrt(diagonal))[:, None].astype(np.float32)
        return stretch


class _Problem:
    """The mean loss and its gradient in stretched coordinates.

    The two products of a thin matrix take nearly all of its time: at 1728 x 1280 x 10 torch's were
    1.4 and 1.7 times as fast as numpy's with AVX-512, and took 2.2 and 1.9 times as long without.
    """

    _by_torch = torch.backends.cpu.get_cpu_capability() == "AVX512"

    def __init__(
        self,
        features: Array,
        truth: Array,
        penalty: float,
        stretch: Array,
        beside: Beside,
    ) -> None:
        self._features = features
        self._offsets = np.float32(0) if beside.offsets is None else beside.offsets
        count = len(features)
        weights = np.ones(count) if beside.weights is None else beside.weights
        self._shares = (weights / count).astype(np.float32)
        self._truth = truth
        self._penalty = penalty
        self._stretch = stretch

    def __call__(self, flat: Array) -> tuple[float, Array]:
        weight = flat.reshape(-1, self._truth.shape[1]).astype(np.float32) * self._stretch
        logits = self._logits(weight[:-1])
        logits += weight[-1] + self._offsets
        logits -= logits.max(axis=1, keepdims=True)
        chances = np.exp(logits)
        total = chances.sum(axis=1, keepdims=True)
        losses = np.log(total[:, 0]) - (logits * self._truth).sum(axis=1)
        loss = float(losses @ self._shares)
        loss += self._penalty * float((weight[:-1] ** 2).sum()) / 2
        error = (chances / total - self._truth) * self._shares[:, None]
        gradient = np.empty_like(weight)
        gradient[:-1] = self._back(error).T + np.float32(self._penalty) * weight[:-1]
        gradient[-1] = error.sum(axis=0)
        return loss, (gradient * self._stretch).ravel().astype(np.float64)

    def _logits(self, weight: Array) -> Array:
        if not self._by_torch:
            return np.asarray(self._features @ weight)
        return (torch.from_numpy(self._features) @ torch.from_numpy(weight)).numpy()

    def _back(self, error: Array) -> Array:
        if not self._by_torch:
            return np.asarray(error.T @ self._features)
        return (torch.from_numpy(error).T @ torch.from_numpy(self._features)).numpy()


def _principal(features: Array) -> tuple[Array, Array]:
    """Return the squared singular values [R] of features [N, D], and their directions [R, D].

    Of many rows the Gram matrix is taken apart: a third of the time of the matrix itself, and the
    directions that its squares make inexact are those that are dropped as constant.
    """
    rows, columns = features.shape
    if rows > columns:
        energy, directions = np.linalg.eigh(features.T @ features)
        return energy, directions.T
    _, singular, rotation = np.linalg.svd(features, full_matrices=False)
    return singular**2, rotation
