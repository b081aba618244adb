"""Goes through a graph once, layer by layer, and fits each layer's integers to what reaches it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.agent.environment import isa_flags
from edgetransfer.compress.columns import FloatColumns, groups_of
from edgetransfer.compress.encoding import WEIGHT_LIMIT, Codes, Encoding, Grid
from edgetransfer.compress.layout import Layer, Layout, array_of, name_of
from edgetransfer.compress.qdq import layer_constants, write_qdq
from edgetransfer.compress.rounding import (
    best_scales,
    blocks,
    blocks_of,
    joined,
    refit,
    second_order,
)
from edgetransfer.compress.stream import Stream
from edgetransfer.errors import NumericalError
from edgetransfer.graph.prepare import side_by_side
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir
    from torch import Tensor

    from edgetransfer.compress.stream import SpillBuffer


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's columns about their means, which a bias makes up for.

    Float64 [G * B, K, K]: G groups of channels in B `blocks` each, K inputs of each block of a row
    of weights; `covariance` is of the quantised columns, `cross` of the float columns with them.
    Means [G * B, K] are of both: `quantised` and `floats`.
    """

    covariance: Tensor
    cross: Tensor
    quantised: Tensor
    floats: Tensor


class MomentSums:
    """Adds up the moments of a layer's columns, batch after batch.

    Each batch about its own mean, then all about the mean of all (Chan, Golub and LeVeque 1983,
    "Algorithms for computing the sample variance", equation 2.1). Mean squares less squared means
    leave nothing of inputs that hardly vary: negative variances, where outliers take all levels.
    """

    def __init__(self) -> None:
        self._count = 0
        self._means: list[Tensor] = []
        self._sums: list[Tensor] = []

    def add(self, batch: BatchMoments) -> None:
        """Take in one batch."""
        old, new = self._count, batch.count
        self._count += new
        if not old:
            self._means, self._sums = list(batch.means), list(batch.sums)
            return
        off = [new - old for new, old in zip(batch.means, self._means, strict=True)]
        for place, (inside, apart) in enumerate(zip(batch.sums, off, strict=True)):
            sums = self._sums[place].add_(inside)
            sums.baddbmm_(apart[:, :, None], off[0][:, None, :], alpha=old * new / self._count)
            self._means[place] = self._means[place] + apart * (new / self._count)

    def moments(self) -> Moments:
        """Return the moments over all batches."""
        return Moments(*(each / self._count for each in self._sums), *self._means)


@dataclass(frozen=True)
class BatchMoments:
    """Columns of some batches, `count` of them: quantised ones and float ones.

    Float64 means [G * B, K] and, about them, sums [G * B, K, K] of products with the quantised.
    """

    count: int
    means: Sequence[Tensor]
    sums: Sequence[Tensor]

    @staticmethod
    def of(
        layer: Layer,
        pairs: Iterable[tuple[Tensor, Tensor]],
        grid: Grid,
        rescaling: tuple[Tensor, Tensor],
    ) -> BatchMoments:
        """Look at columns [G, K, positions] of batches: floats as they were seen, codes as are.

        By the `rescaling`, [G, K, 1] both, floats lack an offset and are then divided by a factor:
        of the sums, which are much smaller. NumericalError where a number is not finite.
        """
        floats, parts = zip(*pairs, strict=True)
        count = blocks_of(parts[0].shape[1])
        codes = _cut(_joined(parts), count)
        offset, factor = (_cut(each, count) for each in rescaling)
        shrink = torch.where(factor > 0, 1 / factor, 0.0)  # what fills up the last block is 0
        got = codes.float()
        steps = (-grid.scale * factor).float()
        lacking = torch.empty_like(got)  # but for the zero point
        start = 0
        for each in floats:
            places = slice(start, start + each.shape[2])
            torch.addcmul(_cut(each, count), got[..., places], steps, out=lacking[..., places])
            start = places.stop
        mean = got.sum(dim=2, keepdim=True).double() / start  # of integers: exact
        off = lacking.mean(dim=2, keepdim=True)
        inside, apart = _sums(codes, got, mean, lacking.sub_(off))
        means = (
            grid.scale * (mean - grid.zero_point).squeeze(2),
            (grid.scale * mean + shrink * (off - offset)).squeeze(2),
        )
        if not all(torch.isfinite(each).all() for each in means):
            raise NumericalError(
                "the network gives NaN or Inf", where="quantise", found=f"before {layer.name}"
            )
        covariance = inside.mul_(grid.scale**2)
        cross = torch.add(covariance, apart.mul_(shrink.float()), alpha=grid.scale)
        return BatchMoments(start, means, [covariance, cross])


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Join columns [G, K, positions] of batches, as they lie in memory."""
    if len(parts) == 1:
        return parts[0]
    if parts[0].stride(1) == 1:
        return torch.cat([each.transpose(1, 2) for each in parts], dim=1).transpose(1, 2)
    return torch.cat(tuple(parts), dim=2)


def _cut(columns: Tensor, count: int) -> Tensor:
    """Cut columns [G, K, positions] into blocks, [G * count, K / count, positions]."""
    if count == 1:
        return columns
    return blocks(columns.transpose(1, 2), count).transpose(1, 2)


def _sums(codes: Tensor, got: Tensor, mean: Tensor, lacking: Tensor) -> tuple[Tensor, Tensor]:
    """Return sums of products about the mean of what was got, of it and of what lacks with it.

    Float64 and float32 [G, K, K]; codes [G, K, P] are also given as floats `got`, which are
    changed. Products of 8 bits are exact. What lacks is little, so that what 16 bits lose of it is
    next to nothing.
    """
    near = mean.round()
    got.sub_(near.float())
    if len(got) > 1 or got.shape[2] > MOST_EXACT or not _multiplies_integers():
        inside, shift = (got @ got.transpose(1, 2)).double(), near
        apart = lacking @ got.transpose(1, 2)
    else:
        signed = codes.dtype == torch.int8
        whole = codes[0] if signed else codes[0].bitwise_xor(128).view(torch.int8)
        inside = torch._int_mm(whole, whole.T)[None].double()
        shift = mean.new_full((), 0 if signed else 128)
        apart = (lacking[0].bfloat16() @ got[0].bfloat16().T)[None].float()
    rest = mean - shift
    return inside.baddbmm_(rest, rest.transpose(1, 2), alpha=-got.shape[2]), apart


@cache
def _multiplies_integers() -> bool:
    """Tell whether products of 8 and of 16 bits are faster here than those of 32."""
    return hasattr(torch, "_int_mm") and {"avx512_vnni", "avx512_bf16"} <= isa_flags()


MOST_EXACT = 2**17 - 1
"""Products of two codes, each 2**14 at most, whose sum is sure to fit into 32 bits."""
FEWEST_AT_ONCE = 1024
"""Columns that are looked at together, or"""
COLUMNS_AT_ONCE = 16
"""for each number of a column, and"""
NUMBERS_AT_ONCE = 2**24
"""of all of them, 64 MiB of floats, of which a worker has several copies."""
LARGEST_BIAS = 2**30
"""Codes of biases stay below this: they are added in 32 bits."""


def fit_weights(
    quantised: tuple[ir.Model, Layout, Encoding],
    batches: Iterable[dict[str, Tensor]],
    floats: FloatColumns,
    spill: SpillBuffer,
    progress: Progress = silent,
) -> Encoding:
    """Round the weights of every layer and correct its bias, in the order the layers run.

    Each layer is fitted on its **quantised** inputs, so that it makes up for what the layers before
    it lost: weights by `encoding.second_order`; then the bias takes the mean error of the outputs
    before the activation (Nagel et al. 2019, arXiv 1906.04721, section 4.2; correcting behind the
    clip diverges), which is what the weights make of the inputs' means. What waits for later layers
    does so in `spill`. The graph is float with its weights untied; of the encoding the grids are
    taken. Batches are prepared examples, by the names of the graph's inputs, and `floats` what was
    seen of the float network on them.
    """
    sweep = _Sweep(*quantised, floats, spill)
    with torch.no_grad():
        return sweep.run(batches, progress)


class _Sweep:
    def __init__(
        self,
        model: ir.Model,
        layout: Layout,
        encoding: Encoding,
        floats: FloatColumns,
        spill: SpillBuffer,
    ) -> None:
        self._layout = layout
        self._floats = floats
        self._weights = {each.name: _unfitted(each) for each in layout.layers}
        biased = [each for each in layout.layers if each.bias is not None]
        self._biases = {each.name: array_of(each.bias) for each in biased if each.bias is not None}
        self._encoding = replace(encoding, weights=self._weights, biases=self._biases)
        written = write_qdq(model, layout, self._encoding)
        sources = [f"{name_of(each.input)}_quantised" for each in layout.layers]
        self._stream = Stream(written, [f"{e.name}_codes" for e in layout.layers], sources, spill)
        self._batches: range = range(0)

    def run(self, batches: Iterable[dict[str, Tensor]], progress: Progress) -> Encoding:
        layers = self._layout.layers
        for batch, feeds in enumerate(batches):
            self._stream.begin(batch, {name: each.numpy() for name, each in feeds.items()})
            self._batches = range(batch + 1)
        for step in range(len(layers) + 1):
            if step:
                self._fit(layers[step - 1])
            self._stream.advance(step)
            progress(step, len(layers))
        return self._encoding

    def _grid(self, layer: Layer) -> Grid:
        return self._encoding.grids[self._layout.root(name_of(layer.input))]

    def _fit(self, layer: Layer) -> None:
        moments = self._moments(layer)
        covariance = moments.covariance
        weights = torch.from_numpy(layer.weights().astype(np.float64))
        inputs = weights[0].numel()
        count = blocks_of(inputs)
        floats = weights.reshape(groups_of(layer), -1, inputs)
        rows = blocks(floats, count)
        rows = joined(refit(rows, covariance, moments.cross), count, inputs)
        energy = covariance.diagonal(dim1=1, dim2=2)[:, None, :]
        importance = joined(energy, count, inputs)
        scale = best_scales(rows, importance, WEIGHT_LIMIT)
        if not self._encoding.scheme.per_channel:
            scale = scale.amax().expand_as(scale)
        scale = torch.maximum(scale, self._least_scale(layer).reshape(scale.shape))
        scale = scale.float().double()
        each = scale.repeat_interleave(count, dim=0)
        rounded = second_order(blocks(rows, count), covariance, each, WEIGHT_LIMIT)
        rounded = joined(rounded, count, inputs)
        codes = torch.round(rounded / scale).reshape(weights.shape).to(torch.int8)
        self._weights[layer.name] = Codes(codes.numpy(), scale.flatten().float().numpy())
        if layer.bias is not None:
            means = (moments.floats, moments.quantised)
            wanted, got = (joined(mean[:, None, :], count, inputs) for mean in means)
            lacking = (floats * wanted - rounded * got).sum(dim=2).flatten()
            self._biases[layer.name] = (array_of(layer.bias) + lacking.numpy()).astype(np.float32)
        self._stream.put(layer_constants(layer, self._encoding, self._grid(layer)))

    def _moments(self, layer: Layer) -> Moments:
        source, grid = f"{name_of(layer.input)}_quantised", self._grid(layer)
        rescaling = self._floats.rescaling(layer)

        def pair(batch: int) -> tuple[Tensor, Tensor]:
            codes = torch.from_numpy(self._stream.get(source, batch))
            return self._floats.take(layer, batch, codes, grid.zero_point)

        def seen(some: range) -> BatchMoments:
            return BatchMoments.of(layer, map(pair, some), grid, rescaling)

        size = self._part(layer)
        parts = [self._batches[i : i + size] for i in range(0, len(self._batches), size)]
        sums = MomentSums()
        for each in side_by_side(seen, parts):
            sums.add(each)
        return sums.moments()

    def _part(self, layer: Layer) -> int:
        """Return of how many batches the columns are looked at together.

        Until there are more of them than products of each, which are dear to add up; half of the
        batches at most, so that two workers have something to do.
        """
        columns, inputs = self._floats.positions(layer), prod(layer.size[1:])
        most = min(
            max(FEWEST_AT_ONCE, COLUMNS_AT_ONCE * inputs),
            NUMBERS_AT_ONCE // (groups_of(layer) * inputs),
        )
        return int(max(1, min(most // columns, -(-len(self._batches) // 2))))

    def _least_scale(self, layer: Layer) -> Tensor:
        """Return the scales below which the code of the bias would overflow, float64 [C]."""
        if layer.bias is None:  # where it stays in float, ONNX Runtime still rounds it by itself
            return torch.zeros(len(layer.weights()), dtype=torch.double)
        bias = torch.from_numpy(np.abs(array_of(layer.bias)).astype(np.float64))
        return bias / (self._grid(layer).scale * LARGEST_BIAS)


def _unfitted(layer: Layer) -> Codes:
    """Stand for the codes of a layer that is still to be fitted."""
    shape = layer.weights().shape
    return Codes(np.zeros(shape, np.int8), np.ones(shape[0], np.float32))
