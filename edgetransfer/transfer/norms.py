"""Sets the batch norms of a network to what device pictures make of them."""

from __future__ import annotations

import copy
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    shift adaptation", equation 2, where it is the source's).

    Args:
        network: with at least one batch norm that keeps statistics, see `batch_norms`.
        labelled: prepared pictures, float32 [N, 3, h, w].
        device: prepared pictures, float32 [M, 3, h, w].
        prior: in pictures.
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
        _correct(layer, own[layer], _statistics(given[0]), share)

    with _watched(layers, correct):
        fresh(device)
    return fresh


@contextmanager
def _watched(layers: list[_BatchNorm], hook: Callable[..., None]) -> Iterator[None]:
    handles = [layer.register_forward_pre_hook(hook) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _statistics(given: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance [C] of inputs [N, C, ...]."""
    axes = [axis for axis in range(given.ndim) if axis != 1]
    return given.mean(dim=axes), given.var(dim=axes, unbiased=False)


def _correct(
    layer: _BatchNorm, own: tuple[Tensor, Tensor], device: tuple[Tensor, Tensor], share: float
) -> None:
    (mean, spread), (there, spread_there) = own, device
    there = share * there + (1 - share) * mean
    spread_there = share * spread_there + (1 - share) * spread
    ratio = (spread_there + layer.eps) / (spread + layer.eps)
    centre, variance = layer.running_mean, layer.running_var
    assert centre is not None
    assert variance is not None  # `batch_norms` took those that keep them
    centre.copy_(there - (mean - centre) * ratio.sqrt())
    variance.copy_(((variance + layer.eps) * ratio - layer.eps).clamp(min=0.0))
