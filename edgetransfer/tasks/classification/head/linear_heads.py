"""Linear heads for raw features: scaled, with looks, weights and a prior, several side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.backbone.model import LinearHead
from edgetransfer.tasks.classification.head.logistic import Fits, LogisticPath
from edgetransfer.tasks.classification.head.score import softmax

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

Array = np.ndarray[Any, Any]


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
    chances = softmax(source.logits(features).astype(np.float64))
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
            head is pulled to what that says of the classes (`prior.source_prior`), not to zero.
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

    def of_all(self, strength: float) -> LinearHead:
        """Return the head that is kept: on all examples, with one C."""
        ((head,),) = self.walk([np.arange(len(self.labels))], [strength], tolerance=KEPT)
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
