"""Turns the input of a layer into the columns that its weights are multiplied with.

It does not run the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.compress.operators import halves, ints_of, pad

if TYPE_CHECKING:
    from torch import Tensor

    from edgetransfer.compress.layout import Layer

FEWEST_POSITIONS = 128
"""Places of one example that are looked at, drawn at random; more for a row of more inputs."""


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's columns about their means, which a bias makes up for.

    Attributes:
        covariance: of the quantised columns, float64 [G, K, K]: G groups of channels, K inputs of
            each row of weights.
        cross: of the float columns with the quantised ones, float64 [G, K, K].
    """

    covariance: Tensor
    cross: Tensor


class MomentSums:
    """Adds up the moments of a layer's columns, batch after batch."""

    def __init__(self, layer: Layer, seed: int) -> None:
        self._layer = layer
        self._generator = torch.Generator().manual_seed(seed)
        self._count = 0
        self._sums: list[Tensor] = [torch.zeros((), dtype=torch.double)] * 4

    def add(self, floats: Tensor, quantised: Tensor) -> None:
        """Take in the inputs of one batch, as they should be and as they are."""
        places = self._generator.get_state()
        wanted = columns(self._layer, floats, self._generator)
        self._generator.set_state(places)
        got = columns(self._layer, quantised, self._generator)
        new = [
            wanted.sum(dim=2, dtype=torch.double),
            got.sum(dim=2, dtype=torch.double),
            (got @ got.transpose(1, 2)).double(),
            (wanted @ got.transpose(1, 2)).double(),
        ]
        self._sums = [old + each for old, each in zip(self._sums, new, strict=True)]
        self._count += got.shape[2]

    def moments(self) -> Moments:
        """Return the moments over all batches."""
        wanted, got, second, cross = (each / self._count for each in self._sums)
        return Moments(
            second - got[:, :, None] * got[:, None, :],
            cross - wanted[:, :, None] * got[:, None, :],
        )


def groups_of(layer: Layer) -> int:
    """Return into how many groups a layer divides its channels; 1 for a matrix product."""
    found = layer.node.attributes.get("group")
    return 1 if found is None else int(found.as_int())


def columns(layer: Layer, x: Tensor, generator: torch.Generator) -> Tensor:
    """Return some columns, [G, K, positions of all examples].

    ``weights.reshape(G, C / G, K) @ columns`` are outputs of the layer without its bias.

    Args:
        layer: a convolution over any number of axes, or a matrix product.
        x: its input, a batch.
        generator: draws the places.
    """
    if layer.node.op_type != "Conv":
        return x.reshape(-1, x.shape[-1]).T[None]
    groups, kernel = groups_of(layer), layer.weights().shape[2:]
    strides = ints_of(layer.node, "strides", [1] * len(kernel))
    dilations = ints_of(layer.node, "dilations", [1] * len(kernel))
    x = pad(x, *halves(ints_of(layer.node, "pads", [0] * (2 * len(kernel)))))
    sizes = [
        (size - dilation * (taps - 1) - 1) // stride + 1
        for size, dilation, taps, stride in zip(
            x.shape[2:], dilations, kernel, strides, strict=True
        )
    ]
    inputs = x.shape[1] // groups * int(np.prod(kernel))
    chosen = torch.randperm(int(np.prod(sizes)), generator=generator)
    chosen = chosen[: max(FEWEST_POSITIONS, inputs)]
    places = [torch.as_tensor(axis) for axis in np.unravel_index(chosen.numpy(), sizes)]
    flat, steps = x.flatten(2), np.cumprod([1, *x.shape[:2:-1]])[::-1]
    taken = []
    for tap in np.ndindex(*kernel):
        at = [p * s + t * d for p, s, t, d in zip(places, strides, tap, dilations, strict=True)]
        index = sum((each * int(step) for each, step in zip(at, steps, strict=True)), start=0)
        taken.append(flat.index_select(2, torch.as_tensor(index)))
    stacked = torch.stack(taken, dim=2)  # [N, channels, taps, positions]
    grouped = stacked.reshape(len(x), groups, inputs, -1)
    return grouped.permute(1, 2, 0, 3).reshape(groups, inputs, -1)
