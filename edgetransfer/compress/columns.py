"""Turns the input of a layer into the columns that its weights are multiplied with.

It does not run the layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.compress.operators import halves, ints_of, pad
from edgetransfer.errors import NumericalError

if TYPE_CHECKING:
    from torch import Tensor

    from edgetransfer.compress.layout import Layer

FEWEST_POSITIONS = 128
"""Places of one example that are looked at, drawn at random; more for a row of more inputs."""
WIDEST = 4608
"""Inputs of a row that are seen together, as many as 512 channels of 3 x 3; longer rows are cut.
All of 25,088 (the first matrix product of VGG16) would be 5 GB for one matrix."""


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's columns about their means, which a bias makes up for.

    Attributes:
        covariance: of the quantised columns, float64 [G * B, K, K]: G groups of channels in B
            `blocks` each, K inputs of each block of a row of weights.
        cross: of the float columns with the quantised ones, float64 [G * B, K, K].
    """

    covariance: Tensor
    cross: Tensor


class MomentSums:
    """Adds up the moments of a layer's columns, batch after batch.

    Each batch about its own mean, then all about the mean of all (Chan, Golub and LeVeque 1983,
    "Algorithms for computing the sample variance", equation 2.1). Mean squares less squared means
    leave nothing of inputs that hardly vary: negative variances, where an outlier takes all levels
    of the grid.
    """

    def __init__(self, layer: Layer, seed: int) -> None:
        self._layer = layer
        self._generator = torch.Generator().manual_seed(seed)
        self._count = 0
        self._means: list[Tensor] = [torch.zeros((), dtype=torch.double)] * 2
        self._sums: list[Tensor] = [torch.zeros((), dtype=torch.double)] * 2

    def add(self, floats: Tensor, quantised: Tensor) -> None:
        """Take in the inputs of one batch, as they should be and as they are.

        Raises:
            NumericalError: NaN or Inf is among them.
        """
        places = self._generator.get_state()
        wanted = columns(self._layer, floats, self._generator)
        self._generator.set_state(places)
        got = columns(self._layer, quantised, self._generator)
        if not (torch.isfinite(wanted).all() and torch.isfinite(got).all()):
            raise NumericalError(
                "the network gives NaN or Inf", where="quantise", found=f"before {self._layer.name}"
            )
        count = blocks_of(got.shape[1])
        wanted, got = (blocks(each.transpose(1, 2), count) for each in (wanted, got))  # [G, P, K]
        means = [each.mean(dim=1, dtype=torch.double) for each in (got, wanted)]
        got, wanted = (
            each - mean.float()[:, None] for each, mean in zip((got, wanted), means, strict=True)
        )
        off = [new - old for new, old in zip(means, self._means, strict=True)]
        old, new = self._count, got.shape[1]
        self._count += new
        for place, (each, apart) in enumerate(zip((got, wanted), off, strict=True)):
            between = apart[:, :, None] * off[0][:, None, :] * (old * new / self._count)
            inside = (each.transpose(1, 2) @ got).double()
            self._sums[place] = self._sums[place] + inside + between
            self._means[place] = self._means[place] + apart * (new / self._count)

    def moments(self) -> Moments:
        """Return the moments over all batches."""
        return Moments(*(each / self._count for each in self._sums))


def blocks_of(inputs: int) -> int:
    """Return into how many blocks a row of so many inputs is cut.

    >>> blocks_of(1280), blocks_of(WIDEST), blocks_of(25088)
    (1, 1, 6)
    """
    return -(-inputs // WIDEST)


def blocks(rows: Tensor, count: int) -> Tensor:
    """Cut rows [G, R, K] into [G * count, R, K / count], the last filled up with zeros.

    >>> blocks(torch.arange(5.0).reshape(1, 1, 5), 2).tolist()
    [[[0.0, 1.0, 2.0]], [[3.0, 4.0, 0.0]]]
    """
    groups, height, width = rows.shape
    narrow = -(-width // count)
    wide = torch.nn.functional.pad(rows, (0, narrow * count - width))
    cut = wide.reshape(groups, height, count, narrow).transpose(1, 2)
    return cut.reshape(groups * count, height, narrow)


def joined(cut: Tensor, count: int, width: int) -> Tensor:
    """Put what `blocks` cut together again: [G, R, width].

    >>> joined(blocks(torch.arange(5.0).reshape(1, 1, 5), 2), 2, 5).tolist()
    [[[0.0, 1.0, 2.0, 3.0, 4.0]]]
    """
    parts, height, narrow = cut.shape
    whole = cut.reshape(parts // count, count, height, narrow).transpose(1, 2)
    return whole.reshape(parts // count, height, -1)[..., :width]


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
