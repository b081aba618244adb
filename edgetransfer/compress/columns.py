"""What a layer's weights are multiplied by at some places of its inputs, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgetransfer.compress.execution import halves, moves
from edgetransfer.compress.layout import Layer, attribute, name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from torch import Tensor

    from edgetransfer.compress.observe import Channels
    from edgetransfer.compress.stream import SpillBuffer

FEWEST_POSITIONS = 12
"""Places of one example that are looked at; more of few examples, so that all have"""
FEWEST_COLUMNS = 1536
"""columns (2048 brought MobileNetV2 0.4 dB for 5 % more time, other networks nothing), or"""
COLUMNS_PER_INPUT = 64
"""for each number of a column, which is an unknown: with 16, MobileNetV2 of 128 pictures lost 0.8
dB, and all there are brought 0.5 more for seven times the work."""
NEARLY_ALL = 0.75
"""Of the places: where as many are wanted, none is left out."""
MOST_NUMBERS = 2**26
"""Of all columns of a layer, 256 MiB of floats."""


def groups_of(layer: Layer) -> int:
    """Return into how many groups a layer divides its channels; 1 for a matrix product."""
    return attribute(layer.node, "group", 1)


def positions(layer: Layer, examples: int) -> int:
    """Return how many places of each of so many examples are looked at."""
    inputs = prod(layer.size[1:])
    most = max(1, MOST_NUMBERS // (groups_of(layer) * inputs))
    wanted = max(FEWEST_COLUMNS, min(COLUMNS_PER_INPUT * inputs, most))
    return max(FEWEST_POSITIONS, -(-wanted // max(1, examples)))


@dataclass(frozen=True)
class Drawn:
    """Places of a batch that are looked at, the same in floats and in integers.

    Of a convolution where the taps of its outputs lie in a flat input, int64 [taps, P], the same of
    every example, and which of those, flat, are in the padding; of a matrix product the rows of all
    examples, [P], None for all of them.
    """

    index: Tensor | None
    outside: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))


def draw(layer: Layer, shape: Sequence[int], places: int, generator: torch.Generator) -> Drawn:
    """Draw at most so many `places` of each example of a batch of inputs of this shape."""
    if layer.node.op_type == "Conv":
        return _looked_at(layer, shape[2:], places, generator)
    rows = prod(shape[:-1])
    if places * shape[0] >= rows:
        return Drawn(None)
    drawn = torch.randperm(rows, generator=generator)[: places * shape[0]]
    return Drawn(drawn.sort().values)


def columns(layer: Layer, x: Tensor, drawn: Drawn, fill: float = 0.0) -> Tensor:
    """Return the columns at some places, [G, K, positions of all examples], of the type of x.

    ``weights.reshape(G, C / G, K) @ columns`` are outputs of the layer without its bias. The layer
    is a convolution over any number of axes, or a matrix product; x is a batch of its inputs, and
    `fill` is what padding holds.
    """
    index, outside = drawn.index, drawn.outside
    if layer.node.op_type != "Conv" or index is None:
        rows = x.reshape(-1, x.shape[-1])
        return (rows if index is None else rows[index]).T[None]
    groups = groups_of(layer)
    flat = x.flatten(2)
    if groups == len(index) == 1 and not len(outside):
        return _pixels(flat, index[0]).T[None]
    if flat.stride(1) == 1 and not flat.is_contiguous():
        taken = _rows(flat, index, outside, fill)
    else:
        taken = _gathered(flat, index.flatten()).index_fill_(2, outside, fill)
        taken = taken.reshape(*flat.shape[:2], *index.shape).permute(1, 2, 0, 3)
    return taken.reshape(groups, x.shape[1] // groups * len(index), -1)


def _pixels(flat: Tensor, index: Tensor) -> Tensor:
    """Return the channels of some places [P] of a batch [N, C, HW], side by side: [N * P, C]."""
    if len(index) == flat.shape[2]:
        taken = flat.transpose(1, 2)
    elif flat.stride(1) == 1:
        taken = flat.transpose(1, 2).index_select(1, index)
    else:
        taken = _gathered(flat, index).transpose(1, 2)
    return taken.reshape(-1, flat.shape[1])


def _gathered(flat: Tensor, index: Tensor) -> Tensor:
    """Return some places [P] of a batch [N, C, HW], [N, C, P]; `index_select` takes thrice this."""
    return flat.gather(2, index.expand(*flat.shape[:2], -1))


def _rows(flat: Tensor, index: Tensor, outside: Tensor, fill: float) -> Tensor:
    """Return places [taps, P] of a batch [N, C, HW] whose channels lie side by side.

    [C, taps * N * P]: all channels of a place are copied at once, and then turned around.
    """
    count, channels, size = flat.shape
    first = torch.arange(count)[:, None] * size
    rows = flat.transpose(1, 2).reshape(-1, channels)
    taken = rows.index_select(0, (index[:, None] + first).flatten())
    if len(outside):
        taps, places = outside // index.shape[1], outside % index.shape[1]
        beside = (taps[:, None] * count + torch.arange(count)) * index.shape[1] + places[:, None]
        taken.index_fill_(0, beside.flatten(), fill)
    return taken.T.contiguous()


def _looked_at(layer: Layer, size: Sequence[int], places: int, generator: torch.Generator) -> Drawn:
    """Draw places of a convolution's output over inputs of a size, in order.

    Nearly all are all, which are taken faster.
    """
    kernel = layer.size[2:]
    strides, dilations = moves(layer.node, len(kernel)).values()
    before, after = halves(attribute(layer.node, "pads", [0] * (2 * len(kernel))))
    padded = [sum(each) for each in zip(size, before, after, strict=True)]
    outputs = [
        (whole - dilation * (taps - 1) - 1) // stride + 1
        for whole, dilation, taps, stride in zip(padded, dilations, kernel, strides, strict=True)
    ]
    total = prod(outputs)
    if places >= NEARLY_ALL * total:
        chosen = torch.arange(total)
    else:
        chosen = torch.randperm(total, generator=generator)[:places].sort().values
    if prod(kernel) == 1 and outputs == list(size):
        return Drawn(chosen[None])
    index, inside = np.zeros(1, np.int64), np.ones(1, np.bool_)
    for axis, place in enumerate(np.unravel_index(chosen.numpy(), outputs)):
        taps = np.indices(kernel)[axis].reshape(-1, 1) * dilations[axis]  # [taps, positions]
        at = place * strides[axis] + taps - before[axis]
        inside = inside & (at >= 0) & (at < size[axis])
        index = index * size[axis] + np.clip(at, 0, size[axis] - 1)
    return Drawn(torch.from_numpy(index), torch.from_numpy(np.flatnonzero(~inside)))


class FloatColumns:
    """Columns of all float layers, taken while batches pass; they wait in a `spill`.

    Integers are looked at in the same places later, which hang on the number of the batch alone.
    """

    def __init__(self, layers: Iterable[Layer], examples: int, spill: SpillBuffer) -> None:
        self._spill = spill
        self._places = {each.name: positions(each, examples) for each in layers}
        self._behind: dict[str, list[Layer]] = {}
        for each in layers:
            self._behind.setdefault(name_of(each.input), []).append(each)
        self._kept: dict[tuple[str, int], np.ndarray[Any, Any] | Path] = {}
        self._drawn: dict[tuple[str, int], Drawn] = {}
        self._columns: dict[str, int] = {}
        self.channels: Mapping[str, Channels] = {}

    def look(self, name: str, batch: int, x: Tensor) -> None:
        """Take the columns of all layers behind a tensor."""
        for layer in self._behind.get(name, ()):
            places, generator = self._places[layer.name], torch.Generator().manual_seed(batch)
            drawn = draw(layer, x.shape, places, generator)
            self._drawn[layer.name, batch] = drawn
            found = columns(layer, x, drawn)
            if not batch:  # workers look at several at once, and the last may be a short one
                self._columns[layer.name] = found.shape[2]
            self._kept[layer.name, batch] = self._spill.keep(found.numpy())

    def positions(self, layer: Layer) -> int:
        """Return how many columns of the first batch there are."""
        return self._columns[layer.name]

    def take(self, layer: Layer, batch: int, codes: Tensor, fill: float) -> tuple[Tensor, Tensor]:
        """Return and forget the columns of a batch, as they were seen, and those of its `codes`.

        Padding holds `fill` there.
        """
        kept = self._kept.pop((layer.name, batch))
        found = torch.from_numpy(self._spill.get(kept))
        self._spill.drop(kept)
        return found, columns(layer, codes, self._drawn.pop((layer.name, batch)), fill)

    def rescaling(self, layer: Layer) -> tuple[Tensor, Tensor]:
        """Return what the columns of a layer have lacked and been divided by since then.

        Offsets and factors, float64 [G, K, 1] both.
        """
        shape = groups_of(layer), prod(layer.size[1:]), 1
        seen = self.channels.get(name_of(layer.input))
        changes = (None, None) if seen is None else (seen.offset, seen.factor)
        offset, factor = (
            torch.full(shape, default, dtype=torch.double)
            if by is None
            else by.repeat_interleave(shape[0] * shape[1] // len(by)).reshape(shape)
            for by, default in zip(changes, (0.0, 1.0), strict=True)
        )
        return offset, factor
