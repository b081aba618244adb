"""Rescales channels between layers so that one grid fits all of a tensor; the function stays.

Nagel et al. (2019), Data-Free Quantization Through Weight Equalization and Bias Correction, arXiv
1906.04721, section 4.1, with the scales chosen on data for the noise of activations and weights
together, as Xiao et al. (2023), SmoothQuant, arXiv 2211.10438, do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import torch
from scipy.cluster.hierarchy import DisjointSet

from edgetransfer.compress.layout import Layer, array_of, attribute, clip_bounds, name_of, users

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgetransfer.compress.observe import Channels

_POOLS = {"AveragePool", "GlobalAveragePool", "MaxPool"}
_TAIL = {"Flatten", "Reshape", "Squeeze"}


@dataclass(frozen=True)
class ChannelGroup:
    """Tensors whose channel i is scaled together, because nodes tie them.

    Tensors are in the order they come to be, layers `before` give one of them and those `after`
    take one; `linear` where nothing but sums stands between, and none behind pads.
    """

    tensors: tuple[ir.Value, ...]
    before: tuple[Layer, ...]
    after: tuple[Layer, ...]
    linear: bool

    def means(self, seen: Mapping[str, Channels]) -> dict[ir.Value, NDArray[np.float64]] | None:
        """Return the channels' means of every tensor, None where they cannot be moved behind."""
        if not self.linear or any(each.bias is None for each in (*self.before, *self.after)):
            return None
        means: dict[ir.Value, NDArray[np.float64]] = {}
        for value in self.tensors:
            node = value.producer()
            if node is not None and node.op_type == "Add":
                parts = [each for each in node.inputs if each is not None]
                means[value] = means[parts[0]] + means[parts[1]]
            elif name_of(value) in seen:
                each = seen[name_of(value)]
                means[value] = (each.mean / each.count).numpy()
            else:
                return None
        return means


def find_groups(
    graph: ir.Graph, layers: Sequence[Layer], seen: Mapping[str, Channels]
) -> list[ChannelGroup]:
    """Return the groups that have layers before and behind, and nothing else at their borders.

    Weights are untied, layers all that multiply by constants, and `seen` the channels of tensors.
    """
    groups = []
    for tensors in _Ties(graph, layers, seen).free():
        members = set(tensors)
        before = tuple(each for each in layers if each.sum in members)
        after = tuple(each for each in layers if each.input in members)
        if before and after:
            groups.append(ChannelGroup(tuple(tensors), before, after, _is_linear(tensors, after)))
    return groups


def _is_linear(tensors: Sequence[ir.Value], after: Sequence[Layer]) -> bool:
    kinds = {node.op_type for value in tensors if (node := value.producer()) is not None}
    return kinds <= {"Add", "Conv", "Gemm"} and all(
        each.node.op_type == "Gemm"
        or (not any(attribute(each.node, "pads", ())) and each.weights().shape[1] > 1)
        for each in after
    )


class _Ties:
    """Tensors whose channels nodes tie together; what a graph takes and gives is fixed."""

    def __init__(
        self, graph: ir.Graph, layers: Sequence[Layer], seen: Mapping[str, Channels]
    ) -> None:
        self._seen = seen
        self._tied = DisjointSet()
        fixed = {*graph.inputs, *graph.outputs}
        by_node = {each.node: each for each in layers}
        for node in graph:
            layer = by_node.get(node)
            values = (*node.inputs, *node.outputs)
            met = [each for each in values if each is not None and each.const_value is None]
            for each in met:
                self._tied.add(each)
            if layer is not None and _has_channels(layer):
                self._tied.add(layer.sum)
            elif self._passes(node):
                for each in met[1:]:
                    self._tied.merge(met[0], each)
            else:
                fixed.update(met)
        self._fixed = {self._tied[each] for each in fixed if each in self._tied}

    def free(self) -> list[list[ir.Value]]:
        """Return what is tied together and may be scaled, in the order it comes to be."""
        found: dict[ir.Value, list[ir.Value]] = {}
        for value in self._tied:
            found.setdefault(self._tied[value], []).append(value)
        return [tied for root, tied in found.items() if root not in self._fixed]

    def _passes(self, node: ir.Node) -> bool:
        """Tell whether scaling a channel of what a node takes scales that of what it gives."""
        source, output = node.inputs[0], node.outputs[0]
        if source is None or len(node.outputs) > 1:
            return False
        if node.op_type in ("Relu", "LeakyRelu") or node.op_type in _POOLS:
            return True
        if node.op_type == "Clip":
            return clip_bounds(output)[0] == 0.0
        if node.op_type == "Add":
            return all(
                each is not None
                and each.const_value is None
                and self._size(each) == self._size(output)
                for each in node.inputs
            )
        if node.op_type == "ReduceMean":
            return _is_spatial(node)
        same = self._size(source) == self._size(output) is not None
        return node.op_type in _TAIL and same and len(output.shape or ()) == 2

    def _size(self, value: ir.Value | None) -> int | None:
        """Return the channels of a tensor, None where they are not known."""
        if value is None:
            return None
        if name_of(value) in self._seen:
            return len(self._seen[name_of(value)].low)
        shape = value.shape
        return (
            shape[1] if shape is not None and len(shape) > 1 and isinstance(shape[1], int) else None
        )


def _has_channels(layer: Layer) -> bool:
    """Tell whether a layer takes channels on axis 1, one by one or all of them."""
    if layer.node.op_type == "Gemm":
        return not attribute(layer.node, "transA", 0)
    groups = attribute(layer.node, "group", 1)
    return layer.node.op_type == "Conv" and groups in (1, len(layer.weights()))


def _is_spatial(node: ir.Node) -> bool:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None or axes.const_value is None:
        return False
    found = {int(axis) % 4 for axis in np.ravel(array_of(axes))}
    return found == {2, 3} and bool(users(node.outputs[0]))


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
    comes near 6 in that channel after scaling, and channels that do keep their scale. Weights are
    untied; layers are all that multiply by constant weights, and `seen` the moments of the tensors
    that are quantised, which become those of the scaled ones. Returns how many groups of channels
    were changed.
    """
    changed = 0
    for group in find_groups(graph, layers, seen):
        members = [_Member.of(value, seen) for value in group.tensors if name_of(value) in seen]
        if not members:
            continue
        behind = [_Behind.of(layer) for layer in group.after]
        candidates = [_scales(members, strength) for strength in STRENGTHS]
        noises = [_noise(members, behind, scales) for scales in candidates]
        best = int(np.argmin(noises))
        if best == 0:
            continue
        _apply(group, candidates[best], seen)
        changed += 1
    return changed


@dataclass(frozen=True)
class _Member:
    """Extremes and mean square of one quantised tensor, for each channel."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    square: NDArray[np.float64]
    cap: float

    @staticmethod
    def of(value: ir.Value, seen: Mapping[str, Channels]) -> _Member:
        each = seen[name_of(value)]
        square = (each.square / each.count).numpy()
        return _Member(each.low.numpy(), each.high.numpy(), square, clip_bounds(value)[1])

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


@dataclass(frozen=True)
class _Behind:
    """What noise before a layer becomes behind it, of its weights by input channel.

    `squares` are sums of squared weights [C]; `widest` the largest of every row [C, R], None for a
    depthwise layer; `taps` how many places of a channel a row looks at.
    """

    squares: NDArray[np.float64]
    widest: NDArray[np.float64] | None
    taps: int

    @staticmethod
    def of(layer: Layer) -> _Behind:
        weights = layer.weights().astype(np.float64)
        cells = weights.reshape(*weights.shape[:2], -1)
        squares = np.square(cells).sum(axis=2)
        if _is_depthwise(layer):
            return _Behind(squares[:, 0], None, cells.shape[2])
        return _Behind(squares.sum(axis=0), np.abs(cells).max(axis=2).T, cells.shape[2])

    def noise(self, member: _Member, step: float, scales: NDArray[np.float64]) -> float:
        """Return noise over signal, where every channel of the input is rounded by this `step`."""
        noise = step * np.sum(self.squares * scales**2)
        if self.widest is not None:
            rows = (self.widest * scales[:, None]).max(axis=0)
            inputs = np.sum(member.square / scales**2)
            rounding = np.sum((rows / 127) ** 2) / 12 * inputs * self.taps
            noise += ROUNDED_IN_SECOND_ORDER * rounding
        return float(noise / max(np.sum(self.squares * member.square), 1e-30))


def _noise(
    members: Sequence[_Member], behind: Sequence[_Behind], scales: NDArray[np.float64]
) -> float:
    """Return the noise at the outputs of the layers behind, relative to their signal.

    Rounding a tensor adds its step squared over 12 to every channel (Widrow, 1956).
    """
    total = 0.0
    for member in members:
        span = max((member.high / scales).max(), 0) - min((member.low / scales).min(), 0)
        step = (span / CODES) ** 2 / 12
        total += sum(each.noise(member, step, scales) for each in behind)
    return total


def _is_depthwise(layer: Layer) -> bool:
    return layer.node.op_type == "Conv" and layer.weights().shape[1] == 1


def _apply(group: ChannelGroup, scales: NDArray[np.float64], seen: Mapping[str, Channels]) -> None:
    for value in group.tensors:
        if name_of(value) in seen:
            seen[name_of(value)].scale(torch.from_numpy(scales))
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
    and no padding behind. Without offsets grids are narrower. `seen` becomes what it is without
    them. Returns how many tensors changed.
    """
    changed = 0
    for group in find_groups(graph, layers, seen):
        means = group.means(seen)
        if means is None or not _narrows(means, seen):
            continue
        for layer in group.before:
            assert layer.bias is not None
            set_array(layer.bias, array_of(layer.bias) - means[layer.sum])
        for layer in group.after:
            assert layer.bias is not None
            wide = torch.from_numpy(layer.weights().astype(np.float64))
            weights = wide.reshape(*wide.shape[:2], -1).sum(dim=2)
            moved = (weights @ torch.from_numpy(means[layer.input])).numpy()
            set_array(layer.bias, array_of(layer.bias) + moved)
        for value in means:
            if name_of(value) in seen:
                seen[name_of(value)].centre()
        changed += len(means)
    return changed


def _narrows(means: Mapping[ir.Value, NDArray[np.float64]], seen: Mapping[str, Channels]) -> bool:
    """Tell whether the grids of a group become narrower without the channels' means."""
    before = after = 0.0
    for value, mean in means.items():
        if name_of(value) in seen:
            low, high = seen[name_of(value)].low.numpy(), seen[name_of(value)].high.numpy()
            before += np.log(max(high.max(), 0) - min(low.min(), 0) + 1e-12)
            after += np.log(max((high - mean).max(), 0) - min((low - mean).min(), 0) + 1e-12)
    return after < before
