"""Rescales channels between layers so that one grid fits all of a tensor; the function stays.

It does not quantise. Nagel et al. (2019), Data-Free Quantization Through Weight Equalization and
Bias Correction, arXiv 1906.04721, section 4.1, with the scales chosen on data for the noise of
activations and weights together, as Xiao et al. (2023), SmoothQuant, arXiv 2211.10438, do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import torch

from edgetransfer.compress.channels import Group, find_groups
from edgetransfer.compress.layout import Layer, array_of, clip_bounds, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgetransfer.compress.observe import Channels

STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""How far the channels' extremes are made equal: 0 not at all, 1 wholly."""
MARGIN = 1.1
"""A channel is kept this much below the bound of the Clip behind it, for examples yet unseen."""
SMALLEST = 1e-4
"""A channel is amplified by the inverse of this at most."""
CODES = 255.0
ROUNDED_IN_SECOND_ORDER = 0.25
"""Share of the weights' noise that is left when rounding looks at the inputs."""


def equalise(graph: ir.Graph, layers: Sequence[Layer], seen: Mapping[str, Channels]) -> int:
    """Rescale channels in place wherever that lowers the expected noise.

    A tensor's channel i is divided by s_i; the layers before it have their row i divided, those
    behind have their column i multiplied. ReLU passes scales on; a Clip at 6 does where no example
    comes near 6 in that channel after scaling, and channels that do keep their scale.

    Args:
        graph: weights untied; changed.
        layers: all that multiply by constant weights.
        seen: moments of the tensors that are quantised.

    Returns:
        How many groups of channels were changed.
    """
    changed = 0
    for group in find_groups(graph, layers, {name: len(each.low) for name, each in seen.items()}):
        members = [_Member.of(value, seen) for value in group.tensors if name_of(value) in seen]
        if not members:
            continue
        candidates = [_scales(members, strength) for strength in STRENGTHS]
        noises = [_noise(members, group, scales) for scales in candidates]
        best = int(np.argmin(noises))
        if best == 0:
            continue
        _apply(group, candidates[best])
        changed += 1
    return changed


@dataclass(frozen=True)
class _Member:
    """Extremes and mean square of one quantised tensor, for each channel."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    square: NDArray[np.float64]
    cap: float
    name: str = field(default="")

    @staticmethod
    def of(value: ir.Value, seen: Mapping[str, Channels]) -> _Member:
        each = seen[name_of(value)]
        square = (each.square / each.count).numpy()
        return _Member(
            each.low.numpy(), each.high.numpy(), square, clip_bounds(value)[1], name_of(value)
        )

    @property
    def extreme(self) -> NDArray[np.float64]:
        return np.maximum(np.abs(self.low), np.abs(self.high))


def _scales(members: Sequence[_Member], strength: float) -> NDArray[np.float64]:
    """Return what each channel is divided by, at most 1, [C]."""
    relative = np.max([each.extreme / max(each.extreme.max(), 1e-12) for each in members], axis=0)
    scales = np.clip(relative, SMALLEST, 1.0) ** strength
    for each in members:
        if np.isfinite(each.cap):
            scales = np.maximum(scales, np.minimum(1.0, MARGIN * each.extreme / each.cap))
    return np.where(relative == 0, 1.0, scales)


def _noise(members: Sequence[_Member], group: Group, scales: NDArray[np.float64]) -> float:
    """Return the noise at the outputs of the layers behind, relative to their signal.

    Rounding a tensor adds its step squared over 12 to every channel (Widrow, 1956).
    """
    total = 0.0
    for member in members:
        span = max((member.high / scales).max(), 0) - min((member.low / scales).min(), 0)
        step = (span / CODES) ** 2 / 12
        for layer in group.after:
            columns = _columns(layer) * scales[:, None]
            energy = np.sum(_columns(layer) ** 2 * member.square[:, None])
            noise = step * np.sum(columns**2)
            if not _is_depthwise(layer):
                rows = np.abs(columns.reshape(len(scales), len(layer.weights()), -1)).max((0, 2))
                inputs = np.sum(member.square / scales**2)
                rounding = np.sum((rows / 127) ** 2) / 12 * inputs * _taps(layer)
                noise += ROUNDED_IN_SECOND_ORDER * rounding
            total += float(noise / max(energy, 1e-30))
    return total


def _is_depthwise(layer: Layer) -> bool:
    return layer.node.op_type == "Conv" and layer.weights().shape[1] == 1


def _taps(layer: Layer) -> int:
    return int(np.prod(layer.weights().shape[2:], dtype=np.int64))


def _columns(layer: Layer) -> NDArray[np.float64]:
    """Return a layer's weights with its input channels first, [C, rows times taps]."""
    weights = layer.weights().astype(np.float64)
    if _is_depthwise(layer):
        return weights.reshape(len(weights), -1)
    return np.moveaxis(weights, 1, 0).reshape(weights.shape[1], -1)


def _apply(group: Group, scales: NDArray[np.float64]) -> None:
    for layer in group.before:
        weights = layer.weights()
        put(layer, weights / scales.reshape(-1, *(1,) * (weights.ndim - 1)))
        if layer.bias is not None:
            set_array(layer.bias, array_of(layer.bias) / scales)
    for layer in group.after:
        weights = layer.weights()
        if _is_depthwise(layer):
            put(layer, weights * scales.reshape(-1, *(1,) * (weights.ndim - 1)))
        else:
            put(layer, weights * scales.reshape(1, -1, *(1,) * (weights.ndim - 2)))


def put(layer: Layer, weights: NDArray[np.floating]) -> None:
    """Replace the weights of a layer, output channels first."""
    set_array(layer.weight, np.moveaxis(weights, 0, layer.axis))


def set_array(value: ir.Value, array: NDArray[np.floating]) -> None:
    """Replace the numbers of a constant."""
    value.const_value = ir.tensor(np.ascontiguousarray(array, dtype=np.float32), name=value.name)


def centre(graph: ir.Graph, layers: Sequence[Layer], seen: Mapping[str, Channels]) -> int:
    """Move the channels' means of linear tensors into the biases behind them, in place.

    Nagel et al. (2019), section 4.1.3 (bias absorption), where it is exact: no activation between,
    and no padding behind. A tensor without offsets needs a narrower grid.

    Returns:
        How many tensors were changed.
    """
    changed = 0
    for group in find_groups(graph, layers, {name: len(each.low) for name, each in seen.items()}):
        means = group.means(seen)
        if means is None or not _narrows(means, seen):
            continue
        for layer in group.before:
            assert layer.bias is not None
            set_array(layer.bias, array_of(layer.bias) - means[layer.sum])
        for layer in group.after:
            assert layer.bias is not None
            weights = torch.from_numpy(layer.weights().astype(np.float64)).flatten(2).sum(2)
            moved = (weights @ torch.from_numpy(means[layer.input])).numpy()
            set_array(layer.bias, array_of(layer.bias) + moved)
        changed += len(means)
    return changed


def _narrows(means: Mapping[ir.Value, NDArray[np.float64]], seen: Mapping[str, Channels]) -> bool:
    """Tell whether the grids of a group become narrower without the channels' means."""
    before = after = 0.0
    for value, mean in means.items():
        if name_of(value) in seen:
            low, high = (
                each.numpy() for each in (seen[name_of(value)].low, seen[name_of(value)].high)
            )
            before += np.log(max(high.max(), 0) - min(low.min(), 0) + 1e-12)
            after += np.log(max((high - mean).max(), 0) - min((low - mean).min(), 0) + 1e-12)
    return after < before
