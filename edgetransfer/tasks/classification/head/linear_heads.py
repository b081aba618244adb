"""Linear heads for raw features: scaled, with looks, weights and a prior, several side by side.

Fitted by multinomial logistic regression over a whole path of strengths, fast for wide features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import softmax

from edgetransfer.backbone.model import LinearHead

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
        energy, rotation = principal(features.astype(np.float64))
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


def principal(features: Array) -> tuple[Array, Array]:
    """Return the squared singular values [R] of features [N, D], ascending, and directions [R, D].

    The smaller Gram matrix is taken apart, in a third or less of the time of the matrix itself:
    directions that its squares make inexact are those that are dropped as constant.
    """
    rows, columns = features.shape
    if rows > columns:
        energy, directions = np.linalg.eigh(features.T @ features)
        return energy, directions.T
    energy, combined = np.linalg.eigh(features @ features.T)
    return energy, combined.T @ features / np.sqrt(np.maximum(energy, 1e-300))[:, None]


def source_prior(source: LinearHead, features: Array, labels: Array) -> LinearHead:
    """Return the head whose logits are the source's, averaged over what the source sees a class as.

    With ``p(s | x)`` the softmax of the source's S logits and ``q[c, s]`` its mean over the
    examples of class c, the weight of class c is ``sum_s q[c, s] weight[s]``. The mean over
    classes is taken off, for it decides nothing. What a source class looks like was learnt
    from hundreds of examples; which source classes ours are like can be told from one. Where
    the source sees all our classes alike, the rows of q are alike and the prior is nearly zero, so
    it need not be switched off.

    q is the empirical conditional distribution of LEEP (Nguyen et al. 2020, "LEEP: a new measure
    to evaluate transferability of learned representations", section 3), turned round; that a
    penalty should pull to what is known and not to zero is Chelba and Acero 2006, "Adaptation of
    maximum entropy capitalizer", section 3.

    The source has S classes on the same features [N, D]; every class from 0 to C - 1 occurs in
    labels int [N].

    >>> ants_or_bees = LinearHead(np.eye(2, 3), np.zeros(2))
    >>> prior = source_prior(ants_or_bees, np.array([[9.0, 0, 5], [0, 9, 5]]), np.array([1, 0]))
    >>> prior.weight.round(2) + 0.0
    array([[-0.5,  0.5,  0. ],
           [ 0.5, -0.5,  0. ]], dtype=float32)
    """
    chances = softmax(source.logits(features).astype(np.float64), axis=1)
    seen_as = np.stack([chances[labels == c].mean(axis=0) for c in range(int(labels.max()) + 1)])
    seen_as -= seen_as.mean(axis=0)
    weight, bias = seen_as @ source.weight, seen_as @ source.bias
    return LinearHead(weight.astype(np.float32), bias.astype(np.float32))


SMALLEST_SPREAD = 0.01
"""Share of the mean standard deviation below which a feature counts as constant."""
ROUNDED = 0.05
"""Of the spread: where 16-bit floats would move a number further, all are kept in 32 bits."""


def in_16_bits(numbers: Array, spread: Array) -> Array:
    """Return numbers [..., D] as float16 where that is exact beside their spread [D], else float32.

    >>> kinds = [in_16_bits(np.array([each]), np.array([1e-3])) for each in (0.5, 2.65, 7e4)]
    >>> [each.dtype.name for each in kinds]
    ['float16', 'float32', 'float32']
    """
    least = np.maximum(spread, SMALLEST_SPREAD * float(np.mean(spread)))
    with np.errstate(over="ignore"):  # it is inf then, and far
        small = numbers.astype(np.float16)
    moved = np.abs(small.astype(np.float64) - numbers)
    return small if (moved <= ROUNDED * least).all() else numbers.astype(np.float32)


def scaling(features: Array) -> tuple[Array, Array]:
    """Return the mean [D] of features [N, D], and the divisor [D] that makes the mean spread 1.

    It goes with the root of each feature's standard deviation (see `probe.fit_probe`).
    """
    mean: Array = features.mean(axis=0, dtype=np.float64)
    spread = features.std(axis=0, dtype=np.float64)
    typical = float(spread.mean()) or 1.0
    root = np.sqrt(np.maximum(spread, SMALLEST_SPREAD * typical))
    after = float((spread / root).mean()) or 1.0
    divisor: Array = root * after
    return mean, divisor


@dataclass(frozen=True)
class Known:
    """What is known of N examples beside their features and labels.

    Attributes:
        groups: int [N]; examples of one group are never on both sides of a fold.
        looks: float [L, N, D], features of other looks at the same examples: fitted on, never
            judged by, and together with the first look as heavy as one example.
        source: the classifier that the backbone was pretrained with, on the same features: the
            head is pulled to what that says of the classes (`source_prior`), not to zero.
        weights: float [N], mean 1: how much an example counts, where it is fitted on and where it
            is held out (importance-weighted cross-validation, Sugiyama et al. 2007).
    """

    groups: Array | None = None
    looks: Array | None = None
    source: LinearHead | None = None
    weights: Array | None = None


NOTHING = Known()
KEPT = 1e-8
"""Tolerance of the fit that is kept: its logits were within 0.01 of those at the minimum on 195
examples, within 0.05 on 2,160. Much less is lost in float32, at twice the evaluations."""


class LinearHeads:
    """Fits heads for raw features [N, D] on some of the examples, one for each strength.

    Its path is fitted on looks at examples: [first look of all, second look of all, ...]. `logits`
    is how many a fit on all examples computes, over all looks and classes.
    """

    def __init__(self, features: Array, labels: Array, known: Known) -> None:
        looks = known.looks
        self._shown = features if looks is None else np.concatenate([features, *looks])
        self._mean, self._scale = scaling(self._shown)
        self._path = LogisticPath((self._shown - self._mean) / self._scale)
        self._source = known.source
        self._looks = len(self._shown) // len(features)
        self.features, self.labels, self.weights = features, labels, known.weights
        self.logits = len(self._shown) * (int(labels.max()) + 1)

    def of_all(self, strength: float, *, tolerance: float = KEPT) -> LinearHead:
        """Return the head that is kept: on all examples, with one C."""
        ((head,),) = self.walk([np.arange(len(self.labels))], [strength], tolerance=tolerance)
        return head

    def walk(
        self, subsets: Sequence[Array], strengths: Iterable[float], *, tolerance: float = 1e-5
    ) -> Iterator[list[LinearHead]]:
        """Fit a head on all looks at each subset, int [M], so that each example weighs one.

        Subsets are fitted side by side for ascending values of C; `tolerance` is that of
        `LogisticPath.walk`.
        """
        priors = [self._prior(each) for each in subsets]
        fits = self._fits(subsets, priors)
        shares = [strength / self._looks for strength in strengths]
        for found in self._path.walk(fits, shares, tolerance=tolerance):
            yield [self._unscaled(*each) for each in zip(*found, priors, strict=True)]

    def _fits(self, subsets: Sequence[Array], priors: Sequence[LinearHead | None]) -> Fits:
        examples = np.unique(np.concatenate(subsets))
        rows, truth = self._rows(examples)
        counts = np.stack([np.isin(examples, each) for each in subsets]).astype(np.float64)
        if self.weights is not None:
            counts *= self.weights[examples]
        logits = [prior.logits(self._shown[rows]).T for prior in priors if prior is not None]
        offsets = np.stack(logits) if logits else None
        return Fits(rows, truth, np.tile(counts, (1, self._looks)), offsets)

    def _rows(self, examples: Array) -> tuple[Array, Array]:
        """Return where all looks at some examples are, and what they show."""
        rows = (len(self.labels) * np.arange(self._looks)[:, None] + examples).ravel()
        return rows, np.tile(self.labels[examples], self._looks)

    def _prior(self, examples: Array) -> LinearHead | None:
        if self._source is None:
            return None
        rows, truth = self._rows(examples)
        return source_prior(self._source, self._shown[rows], truth)

    def _unscaled(self, weight: Array, bias: Array, prior: LinearHead | None) -> LinearHead:
        """Return the head that applies to raw features."""
        weight = weight / self._scale
        bias = bias - weight @ self._mean
        if prior is not None:
            weight, bias = weight + prior.weight, bias + prior.bias
        return LinearHead(weight.astype(np.float32), bias.astype(np.float32))
