"""Meets a shift of domain: weighs or moves labelled features, or sets batch norms anew."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch.nn.modules.batchnorm import _BatchNorm

from edgetransfer.tasks.classification.head.probe import fit_probe

if TYPE_CHECKING:
    from torch import Tensor, nn

PRIOR = 16
"""Labelled pictures' worth of trust in the statistics that labelled pictures have."""
PIXELS = 128 * 224 * 224
"""Of all pictures together that one pass holds: 128 of 224 pixels, 1.5 GiB in MobileNetV2."""


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """Return the layers whose statistics can be set."""
    return [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]


def most_pictures(height: int, width: int) -> int:
    """Return how many pictures one pass takes.

    >>> most_pictures(224, 224), most_pictures(64, 64)
    (128, 1568)
    """
    return PIXELS // (height * width)


@torch.no_grad()
def renormalise(
    network: nn.Module, labelled: Tensor, device: Tensor, *, prior: float = PRIOR
) -> nn.Module:
    """Return a copy of a network that makes of device pictures what it made of labelled ones.

    Adaptive batch normalisation (Li et al. 2016, "Revisiting batch normalization for practical
    domain adaptation") lets each domain pass through statistics of its own. Here every batch norm
    is set so that what it gives for device pictures has, in each channel, the mean and variance
    that it gave for labelled ones: in ``y = weight * (x - m) / sqrt(v) + bias`` with inputs of mean
    and variance a, s among labelled and b, t among device pictures, ``v`` becomes ``v * t / s`` and
    ``m`` becomes ``b - (a - m) * sqrt(t / s)``. The features of labelled pictures stay as they are,
    and with them the head. Batch norms that were folded into their convolutions and stand as
    identities serve as well, and where both domains are alike nothing changes.

    Layers are set from first to last in one pass, so each sees what those before it give. The
    device's statistics are drawn towards the labelled pictures' as if those were `prior` more of
    its own (Schneider et al. 2020, "Improving robustness against common corruptions by covariate
    shift adaptation", equation 2, where it is the source's). Pictures are prepared, float32 [N, 3,
    h, w] and [M, 3, h, w]; without `batch_norms` nothing changes.
    """
    own: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    fresh = copy.deepcopy(network).eval()
    layers = batch_norms(fresh)

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        own[layer] = _statistics(given[0])

    with _watched(layers, note):
        fresh(labelled)
    share = len(device) / (len(device) + prior)

    def correct(layer: _BatchNorm, given: tuple[Tensor, ...]) -> None:
        (mean, spread), (there, spread_there) = own[layer], _statistics(given[0])
        there, spread_there = there.lerp(mean, 1 - share), spread_there.lerp(spread, 1 - share)
        ratio = (spread_there + layer.eps) / (spread + layer.eps)
        centre, variance = layer.running_mean, layer.running_var
        assert centre is not None
        assert variance is not None  # `batch_norms` took those that keep them
        centre.copy_(there - (mean - centre) * ratio.sqrt())
        variance.copy_(((variance + layer.eps) * ratio - layer.eps).clamp(min=0.0))

    with _watched(layers, correct):
        fresh(device)
    return fresh


def _watched(layers: list[_BatchNorm], hook: Callable[..., None]) -> ExitStack:
    hooks = ExitStack()
    for layer in layers:
        hooks.enter_context(layer.register_forward_pre_hook(hook))
    return hooks


def _statistics(given: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance [C] of inputs [N, C, ...]."""
    axes = [axis for axis in range(given.ndim) if axis != 1]
    return given.mean(dim=axes), given.var(dim=axes, unbiased=False)


Array = np.ndarray[Any, Any]
MEAN_PRIOR, COVARIANCE_PRIOR = 16, 64
"""Device examples that count as much as what labelled ones say of the device's mean, covariance."""
RIDGE = 1.0
"""Times the mean variance that is added to every direction before a root is taken."""


@dataclass(frozen=True)
class Alignment:
    """``moved = (features - mean) @ turn + towards``; mean, towards [D], turn [D, D]."""

    mean: Array
    turn: Array
    towards: Array

    def move(self, features: Array) -> Array:
        """Move features [..., D]; returns float32."""
        moved: Array = (features - self.mean) @ self.turn + self.towards
        return moved.astype(np.float32)


def fit_alignment(labelled: Array, device: Array) -> Alignment:
    """Align mean and covariance of labelled features [N, D] with those of device features [M, D].

    CORAL (Sun, Feng and Saenko 2016, "Return of frustratingly easy domain adaptation",
    algorithm 1): whiten with the covariance of the labelled, colour with that of the device, both
    with a ridge. Theirs is on features of unit variance as well, and leaves means to be taken off;
    here the mean moves too, which brings most of the gain (`docs/domain-shift.md`). A covariance of
    few examples is mostly noise, so that the device's is drawn towards the labelled examples', as
    if that had been seen in `COVARIANCE_PRIOR` of its own; likewise the mean. Without device
    examples nothing would move.

    Classes must be about as frequent on the device as among the labelled examples: where they are
    not, the difference between classes is taken for one between domains.

    >>> rows = np.random.default_rng(0).normal(size=(4000, 2))
    >>> alignment = fit_alignment(rows, 3.0 * rows + 5.0)
    >>> moved = alignment.move(rows)  # by the ridge 2.2 times as wide, not 3: sqrt((9 + 1) / 2)
    >>> moved.mean(axis=0).round(1).tolist(), round(float(moved.std()), 1)
    ([5.0, 5.0], 2.2)
    """
    with threadpool_limits(limits=1):
        mean, there = (rows.mean(axis=0, dtype=np.float64) for rows in (labelled, device))
        own, other = _covariance(labelled, mean), _covariance(device, there)
        seen = len(device) / (len(device) + MEAN_PRIOR)
        towards = seen * there + (1 - seen) * mean
        seen = len(device) / (len(device) + COVARIANCE_PRIOR)
        other = seen * other + (1 - seen) * own
        floor = max(RIDGE * np.trace(own) / len(own), 1e-12)
        turn = _power(own, floor, -0.5) @ _power(other, floor, 0.5)
    return Alignment(mean, turn, towards)


def _covariance(features: Array, mean: Array) -> Array:
    centred = features - mean
    product: Array = centred.T @ centred / len(features)
    return product


def _power(covariance: Array, floor: float, exponent: float) -> Array:
    """Return the power of a symmetric matrix with something added to its diagonal."""
    values, vectors = np.linalg.eigh(covariance)
    powered: Array = (vectors * (np.maximum(values, 0.0) + floor) ** exponent) @ vectors.T
    return powered


LARGEST = 10.0
"""No example weighs more than this many times the mean."""
EFFECTIVE = 0.5
"""Least share of the labelled examples that the effective sample size may come down to."""
FEWEST = 5
"""Examples of each domain without which nothing is told apart: as many as folds."""


@dataclass(frozen=True)
class Weights:
    """What labelled examples weigh when they are to stand for device examples, float32 [N], mean 1.

    The exponent is between 0 (all alike) and 1 (the density ratio as estimated, bounded), the
    effective sample size ``sum(w)**2 / sum(w**2)`` (Kish 1965).
    """

    values: Array
    exponent: float
    effective: float


def domain_scores(labelled: Array, device: Array, *, seed: int = 0) -> Array:
    """Return the log odds [N + M] that an example is a device example, each by a fit without it.

    Features are [N, D] and [M, D], both of `FEWEST` examples at least; `seed` is of the folds. The
    domain classifier is the probe, cross-validated like any other. Its scores give the area that
    says how large the shift is (Ben-David et al. 2007, "Analysis of representations for domain
    adaptation", bound the error on the target by such a classifier's), and the ratio of densities
    (Bickel et al. 2009, "Discriminative learning under covariate shift"). Scores of examples that
    were fitted on would make both too large.
    """
    rows = np.concatenate([labelled, device])
    domain = np.repeat([0, 1], [len(labelled), len(device)])
    logits = fit_probe(rows, domain, seed=seed).held_out
    return np.asarray(logits[:, 1] - logits[:, 0], dtype=np.float64)


def weigh(log_odds: Array) -> Weights:
    """Turn the log odds [N] of labelled examples into weights with a mean of 1.

    ``p(device | x) / p(labelled | x)`` is the ratio of densities up to a factor (Bickel et al.
    2009, section 4), by which the loss on labelled examples becomes that on device examples
    (Shimodaira 2000, "Improving predictive inference under covariate shift"). Where domains lie
    apart a few examples would carry all of it, so that it is flattened by the largest exponent
    (Shimodaira's lambda) that leaves an effective sample size of half the examples, and bounded.

    >>> found = weigh(np.log(np.array([1.0, 1.0, 1.0, 5.0])))
    >>> found.values.round(2).tolist(), found.exponent, round(found.effective, 2)
    ([0.5, 0.5, 0.5, 2.5], 1.0, 2.29)
    >>> found = weigh(np.array([0.0, 0.0, 0.0, 40.0]))
    >>> round(found.effective, 2)
    2.0
    """
    low, high = 0.0, 1.0
    values = _flattened(log_odds, high)
    if _effective(values) >= EFFECTIVE * len(values):
        return Weights(values, high, _effective(values))
    for _ in range(30):
        middle = (low + high) / 2
        enough = _effective(_flattened(log_odds, middle)) >= EFFECTIVE * len(values)
        low, high = (middle, high) if enough else (low, middle)
    values = _flattened(log_odds, low)
    return Weights(values, low, _effective(values))


def _flattened(log_odds: Array, exponent: float) -> Array:
    """Return float32 [N]: the ratios to a power, bounded, with a mean of 1."""
    ratios = np.exp(exponent * (log_odds - log_odds.max()))
    bounded = np.minimum(ratios, LARGEST * ratios.mean())
    values: Array = (bounded / bounded.mean()).astype(np.float32)
    return values


def _effective(weights: Array) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum())
