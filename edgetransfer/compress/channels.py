"""Finds which tensors must share their channels' scales, and the layers before and behind them.

It does not change a graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.compress.layout import Layer, array_of, clip_bounds, name_of, users

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgetransfer.compress.observe import Channels

_POOLS = {"AveragePool", "GlobalAveragePool", "MaxPool"}
_TAIL = {"Flatten", "Reshape", "Squeeze"}


@dataclass(frozen=True)
class Group:
    """Tensors whose channel i is scaled together, because nodes tie them.

    Attributes:
        tensors: in the order they come to be.
        before: layers that give one of them.
        after: layers that take one of them.
        linear: nothing but sums stands between the layers, and none behind pads.
    """

    tensors: tuple[ir.Value, ...]
    before: tuple[Layer, ...]
    after: tuple[Layer, ...]
    linear: bool

    def means(self, seen: Mapping[str, Channels]) -> dict[ir.Value, NDArray[np.float64]] | None:
        """Return the channels' means of every tensor, None where they cannot be moved behind.

        Those of a sum are the sums of those of its parts.
        """
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
    graph: ir.Graph, layers: Sequence[Layer], channels: Mapping[str, int]
) -> list[Group]:
    """Return the groups that have layers before and behind, and nothing else at their borders.

    Args:
        graph: weights untied.
        layers: all that multiply by constant weights.
        channels: how many channels the tensors have that were seen.
    """
    ties = _Ties(graph, layers, channels)
    found: dict[ir.Value, list[ir.Value]] = {}
    for value in ties.values:
        found.setdefault(ties.root(value), []).append(value)
    groups = []
    for root, tensors in found.items():
        members = set(tensors)
        before = tuple(each for each in layers if each.sum in members)
        after = tuple(each for each in layers if each.input in members)
        if root not in ties.fixed and before and after:
            groups.append(Group(tuple(tensors), before, after, _is_linear(tensors, after)))
    return groups


def _is_linear(tensors: Sequence[ir.Value], after: Sequence[Layer]) -> bool:
    kinds = {node.op_type for value in tensors if (node := value.producer()) is not None}
    return kinds <= {"Add", "Conv", "Gemm"} and all(
        each.node.op_type == "Gemm" or (_pads_nothing(each.node) and each.weights().shape[1] > 1)
        for each in after
    )


def _pads_nothing(node: ir.Node) -> bool:
    pads = node.attributes.get("pads")
    return pads is None or not any(pads.as_ints())


class _Ties:
    """Union-find over tensors; `fixed` holds the roots whose scales may not change."""

    def __init__(
        self, graph: ir.Graph, layers: Sequence[Layer], channels: Mapping[str, int]
    ) -> None:
        self._parent: dict[ir.Value, ir.Value] = {}
        self.fixed: set[ir.Value] = set()
        self._channels = channels
        by_node = {each.node: each for each in layers}
        for node in graph:
            layer = by_node.get(node)
            if layer is not None and _has_channels(layer):
                self._join([layer.input])
                self._join([layer.sum])
            elif self._passes(node):
                self._join([each for each in (*node.inputs, *node.outputs) if _flows(each)])
            else:
                self._fix([each for each in (*node.inputs, *node.outputs) if _flows(each)])
        self._fix([*graph.inputs, *graph.outputs])

    @property
    def values(self) -> Iterable[ir.Value]:
        """All tensors that were met, in the order they come to be."""
        return self._parent

    def root(self, value: ir.Value) -> ir.Value:
        """Return the tensor that stands for all that are tied to `value`."""
        parent = self._parent.setdefault(value, value)
        return value if parent is value else self.root(parent)

    def _join(self, values: Sequence[ir.Value | None]) -> None:
        roots = [self.root(each) for each in values if each is not None]
        fixed = any(each in self.fixed for each in roots)
        for each in roots[1:]:
            self._parent[each] = roots[0]
        if fixed:
            self.fixed.add(roots[0])

    def _fix(self, values: Sequence[ir.Value | None]) -> None:
        self.fixed.update(self.root(each) for each in values if each is not None)

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
                _flows(each) and self._size(each) == self._size(output) for each in node.inputs
            )
        if node.op_type == "ReduceMean":
            return _is_spatial(node)
        same = self._size(source) == self._size(output) is not None
        return node.op_type in _TAIL and same and _rank(output) == 2

    def _size(self, value: ir.Value | None) -> int | None:
        """Return the channels of a tensor, None where they are not known."""
        if value is None:
            return None
        if name_of(value) in self._channels:
            return self._channels[name_of(value)]
        shape = value.shape
        return (
            shape[1] if shape is not None and len(shape) > 1 and isinstance(shape[1], int) else None
        )


def _has_channels(layer: Layer) -> bool:
    """Tell whether a layer takes channels on axis 1, one by one or all of them."""
    if layer.node.op_type == "Gemm":
        transposed = layer.node.attributes.get("transA")
        return transposed is None or not transposed.as_int()
    group = layer.node.attributes.get("group")
    groups = 1 if group is None else group.as_int()
    return layer.node.op_type == "Conv" and groups in (1, len(layer.weights()))


def _flows(value: ir.Value | None) -> bool:
    return value is not None and value.const_value is None


def _rank(value: ir.Value) -> int | None:
    return None if value.shape is None else len(value.shape)


def _is_spatial(node: ir.Node) -> bool:
    axes = node.inputs[1] if len(node.inputs) > 1 else None
    if axes is None or axes.const_value is None:
        return False
    found = {int(axis) % 4 for axis in np.ravel(array_of(axes))}
    return found == {2, 3} and bool(users(node.outputs[0]))
