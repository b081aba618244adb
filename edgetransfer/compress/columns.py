"""What a layer's weights are multiplied by at some places of its inputs, drawn at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgetransfer.compress.execution import halves, moves
from edgetransfer.compress.layout import Layer, attribute, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from torch import Tensor

    from edgetransfer.compress.observe import Channels
    from edgetransfer.compress.stream import SpillBuffer

FEWEST_POSITIONS = 16
"""Places of one example that are looked at; more of few examples, so that all have"""
FEWEST_COLUMNS = 2048
"""columns, or"""
COLUMNS_PER_INPUT = 64
"""for each number of a column, which is an unknown: with 16, MobileNetV2 of 128 pictures lost 0.8
dB, and all there are brought 0.5 more for seven times the work."""


MOST_NUMBERS = 2**26
"""Of all columns of a layer, 256 MiB of floats."""


def groups_of(layer: Layer) -> int:
    """Return into how many groups a layer divides its channels; 1 for a matrix product."""
    return attribute(layer.node, "group", 1)


def positions(layer: Layer, examples: int) -> int:
    """Return how many places of each of so many examples are looked at."""
    inputs = int(layer.weights()[0].size)
    most = max(1, MOST_NUMBERS // (groups_of(layer) * inputs))
    wanted = max(FEWEST_COLUMNS, min(COLUMNS_PER_INPUT * inputs, most))
    return max(FEWEST_POSITIONS, -(-wanted // max(1, examples)))


def columns(
    layer: Layer, x: Tensor, places: int, generator: torch.Generator, fill: float = 0.0
) -> Tensor:
    """Return some columns, [G, K, positions of all examples], of the type of x.

    ``weights.reshape(G, C / G, K) @ columns`` are outputs of the layer without its bias. The layer
    is a convolution over any number of axes, or a matrix product; x is a batch of its inputs, the
    generator draws at most so many `places` of each example, and `fill` is what padding holds.
    """
    if layer.node.op_type != "Conv":
        rows = x.reshape(-1, x.shape[-1])
        if places * len(x) < len(rows):
            drawn = torch.randperm(len(rows), generator=generator)[: places * len(x)]
            rows = rows[drawn.sort().values]
        return rows.T[None]
    groups, kernel = groups_of(layer), layer.weights().shape[2:]
    index, inside = _looked_at(layer, x.shape[2:], places, generator)
    channels, taps = x.shape[1], int(np.prod(kernel))
    if x.ndim == 4 and not x.is_contiguous() and x.stride(1) == 1:  # channels lie side by side
        flat = x.permute(0, 2, 3, 1).reshape(len(x), -1, channels)
        taken = flat.index_select(1, index)  # [N, taps x P, channels]
        if not inside.all():
            taken.masked_fill_(~inside[:, None], fill)
        grouped = taken.reshape(len(x), taps, -1, groups, channels // groups)
        ordered = grouped.permute(3, 4, 1, 0, 2)
    else:
        taken = x.flatten(2).index_select(2, index)  # [N, channels, taps x P]
        if not inside.all():
            taken.masked_fill_(~inside, fill)
        ordered = taken.reshape(len(x), groups, channels // groups * taps, -1).permute(1, 2, 0, 3)
    return ordered.reshape(groups, channels // groups * taps, -1)


def _looked_at(
    layer: Layer, size: Iterable[int], places: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw places of a convolution's output over inputs of a size.

    Returns where their taps lie in the flat input, int64 [taps * P], taps first, and whether there
    and not in the padding.
    """
    kernel, size = layer.weights().shape[2:], list(size)
    strides, dilations = moves(layer.node, len(kernel)).values()
    before, after = halves(attribute(layer.node, "pads", [0] * (2 * len(kernel))))
    padded = [sum(each) for each in zip(size, before, after, strict=True)]
    outputs = [
        (whole - dilation * (taps - 1) - 1) // stride + 1
        for whole, dilation, taps, stride in zip(padded, dilations, kernel, strides, strict=True)
    ]
    chosen = torch.randperm(int(np.prod(outputs)), generator=generator)[:places].sort().values
    index, inside = np.zeros(1, np.int64), np.ones(1, np.bool_)
    for axis, place in enumerate(np.unravel_index(chosen.numpy(), outputs)):
        taps = np.indices(kernel)[axis].reshape(-1, 1) * dilations[axis]  # [taps, positions]
        at = place * strides[axis] + taps - before[axis]
        inside = inside & (at >= 0) & (at < size[axis])
        index = index * size[axis] + np.clip(at, 0, size[axis] - 1)
    return torch.from_numpy(index.reshape(-1)), torch.from_numpy(inside.reshape(-1))


class FloatColumns:
    """Columns of all float layers, taken while batches pass; they wait in a `spill`.

    What is drawn hangs on the number of the batch alone, so that integers are looked at in the same
    places later (`of`).
    """

    def __init__(self, layers: Iterable[Layer], examples: int, spill: SpillBuffer) -> None:
        self._spill = spill
        self._places = {each.name: positions(each, examples) for each in layers}
        self._behind: dict[str, list[Layer]] = {}
        for each in layers:
            self._behind.setdefault(name_of(each.input), []).append(each)
        self._kept: dict[tuple[str, int], np.ndarray[Any, Any] | Path] = {}
        self._columns: dict[str, int] = {}
        self.channels: Mapping[str, Channels] = {}

    def look(self, name: str, batch: int, x: Tensor) -> None:
        """Take the columns of all layers behind a tensor."""
        for layer in self._behind.get(name, ()):
            found = self.of(layer, batch, x)
            if not batch:  # workers look at several at once, and the last may be a short one
                self._columns[layer.name] = found.shape[2]
            self._kept[layer.name, batch] = self._spill.keep(found.numpy())

    def positions(self, layer: Layer) -> int:
        """Return how many columns of the first batch there are."""
        return self._columns[layer.name]

    def of(self, layer: Layer, batch: int, x: Tensor, fill: float = 0.0) -> Tensor:
        """Return the columns of inputs of a layer."""
        drawn = torch.Generator().manual_seed(batch)
        return columns(layer, x, self._places[layer.name], drawn, fill)

    def take(self, layer: Layer, batch: int) -> Tensor:
        """Return and forget the columns of a batch, as they are where `channels` were rescaled."""
        kept = self._kept.pop((layer.name, batch))
        found = torch.from_numpy(self._spill.get(kept))
        self._spill.drop(kept)
        seen = self.channels.get(name_of(layer.input))
        return found if seen is None else seen.follow(found)
