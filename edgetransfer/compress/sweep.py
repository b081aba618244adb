"""Goes through a graph once, layer by layer, and fits each layer's integers to what reaches it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.compress import execution
from edgetransfer.compress.encoding import WEIGHT_LIMIT, Codes, Encoding, Grid
from edgetransfer.compress.execution import constants_of, halves, last_uses, moves
from edgetransfer.compress.layout import Layer, Layout, array_of, attribute, name_of
from edgetransfer.compress.rounding import (
    best_scales,
    blocks,
    blocks_of,
    joined,
    refit,
    second_order,
)
from edgetransfer.errors import NumericalError
from edgetransfer.graph.prepare import side_by_side
from edgetransfer.spec.memory import memory
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    import onnx_ir as ir
    from torch import Tensor


FEWEST_POSITIONS = 16
"""Places of one example that are looked at, drawn at random; more for a row of more inputs, and"""
FEWEST_COLUMNS = 2048
"""so that all have as many: twice as many brought nothing to MobileNetV2 with 128 pictures."""


@dataclass(frozen=True)
class Moments:
    """Second moments of a layer's columns about their means, which a bias makes up for.

    Float64 [G * B, K, K]: G groups of channels in B `blocks` each, K inputs of each block of a row
    of weights; `covariance` is of the quantised columns, `cross` of the float columns with them.
    """

    covariance: Tensor
    cross: Tensor


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
        return Moments(*(each / self._count for each in self._sums))


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
        batches: Iterable[tuple[Tensor, Tensor]],
        grid: Grid,
        seed: int,
        fewest: int = FEWEST_POSITIONS,
    ) -> BatchMoments:
        """Look at some places of a layer's inputs, floats as they should be and codes as they are.

        The first batch has this `seed`, the next ones those after it; `fewest` is as for `columns`.
        NumericalError where a number is not finite.
        """
        pairs = []
        for number, (floats, codes) in enumerate(batches, start=seed):
            fills = ((floats, 0.0), (codes, grid.zero_point))
            drawn = (torch.Generator().manual_seed(number) for _ in fills)
            pairs.append([columns(layer, x, next(drawn), fill, fewest) for x, fill in fills])
        wanted, taken = (torch.cat(each, dim=2) for each in zip(*pairs, strict=True))
        got = grid.numbers(taken)
        count = blocks_of(got.shape[1])
        if count > 1:
            cut = (blocks(each.transpose(1, 2), count) for each in (wanted, got))
            wanted, got = (each.transpose(1, 2) for each in cut)
        near = got.mean(dim=2, keepdim=True), wanted.mean(dim=2, keepdim=True)
        got, wanted = got.sub_(near[0]), wanted - near[1]
        # A mean in 32 bits is off where numbers hardly vary; what is left of it tells by how much.
        rest = [each.mean(dim=2, keepdim=True).double() for each in (got, wanted)]
        inside = [
            (each @ got.transpose(1, 2)).double() - got.shape[2] * off @ rest[0].transpose(1, 2)
            for each, off in zip((got, wanted), rest, strict=True)
        ]
        means = [(each + off).squeeze(2) for each, off in zip(near, rest, strict=True)]
        if not all(torch.isfinite(each).all() for each in (*means, *inside)):
            raise NumericalError(
                "the network gives NaN or Inf", where="quantise", found=f"before {layer.name}"
            )
        return BatchMoments(got.shape[2], means, inside)


def groups_of(layer: Layer) -> int:
    """Return into how many groups a layer divides its channels; 1 for a matrix product."""
    return attribute(layer.node, "group", 1)


def columns(
    layer: Layer,
    x: Tensor,
    generator: torch.Generator,
    fill: float = 0.0,
    fewest: int = FEWEST_POSITIONS,
) -> Tensor:
    """Return some columns, [G, K, positions of all examples], of the type of x.

    ``weights.reshape(G, C / G, K) @ columns`` are outputs of the layer without its bias. The layer
    is a convolution over any number of axes, or a matrix product; x is a batch of its inputs, the
    generator draws the places, K of each example or `fewest`, and `fill` is what padding holds.
    """
    if layer.node.op_type != "Conv":
        return x.reshape(-1, x.shape[-1]).T[None]
    groups, kernel = groups_of(layer), layer.weights().shape[2:]
    strides, dilations = moves(layer.node, len(kernel)).values()
    before, after = halves(attribute(layer.node, "pads", [0] * (2 * len(kernel))))
    padded = [sum(each) for each in zip(x.shape[2:], before, after, strict=True)]
    sizes = [
        (size - dilation * (taps - 1) - 1) // stride + 1
        for size, dilation, taps, stride in zip(padded, dilations, kernel, strides, strict=True)
    ]
    inputs = x.shape[1] // groups * int(np.prod(kernel))
    chosen = torch.randperm(int(np.prod(sizes)), generator=generator)
    chosen = chosen[: max(fewest, inputs)].sort().values
    places = np.unravel_index(chosen.numpy(), sizes)
    flat, index, inside = x.flatten(2), np.zeros(1, np.int64), np.ones(1, np.bool_)
    for axis, (place, size) in enumerate(zip(places, x.shape[2:], strict=True)):
        taps = np.indices(kernel)[axis].reshape(-1, 1) * dilations[axis]  # [taps, positions]
        at = place * strides[axis] + taps - before[axis]
        inside = inside & (at >= 0) & (at < size)
        index = index * size + np.clip(at, 0, size - 1)
    taken = flat.index_select(2, torch.from_numpy(index.reshape(-1)))  # [N, channels, taps x P]
    if not inside.all():
        taken.masked_fill_(torch.from_numpy(~inside.reshape(-1)), fill)
    grouped = taken.reshape(len(x), groups, inputs, -1)
    return grouped.permute(1, 2, 0, 3).reshape(groups, inputs, -1)


def positions(examples: int) -> int:
    """Return how many places of each example are looked at, at least.

    >>> positions(40), positions(1000)
    (52, 16)
    """
    return max(FEWEST_POSITIONS, -(-FEWEST_COLUMNS // examples))


def largest_part(layer: Layer, x: Tensor, batches: int) -> int:
    """Return of how many batches like x the columns are looked at together.

    As many as `LOOKED_AT_BYTES` hold, for sums of products are dear to add up, and half of them at
    most, so that two workers have something to do.
    """
    row = layer.weights()[0].size
    if layer.node.op_type == "Conv":
        places = len(x) * min(int(np.prod(x.shape[2:])), max(positions(len(x) * batches), row))
    else:
        places = x.numel() // row
    fit = LOOKED_AT_BYTES // max(1, groups_of(layer) * row * places * x.element_size())
    return int(max(1, min(fit, -(-batches // 2))))


LOOKED_AT_BYTES = 2**25
"""Columns of floats that one worker holds."""
LARGEST_BIAS = 2**30
"""Codes of biases stay below this: they are added in 32 bits."""
WAITING_SHARE = 8
"""What waits for later layers takes this part of the machine's memory, and lies in files beyond."""


def fit_weights(
    graph: ir.Graph,
    layout: Layout,
    encoding: Encoding,
    batches: Iterable[dict[str, Tensor]],
    folder: Path,
    *,
    progress: Progress = silent,
) -> Encoding:
    """Round the weights of every layer and correct its bias, in the order the layers run.

    Each layer is fitted on its **quantised** inputs, so that it makes up for what the layers before
    it lost: weights by `encoding.second_order`; then the bias takes the mean error of the outputs
    before the activation (Nagel et al. 2019, arXiv 1906.04721, section 4.2; correcting behind the
    clip diverges). What waits for later layers and does not fit into memory lies in `folder`, an
    empty one. The graph is float with its weights untied; of the encoding the grids are taken.
    Batches are prepared examples, by the names of the graph's inputs.
    """
    sweep = _Sweep(graph, layout, encoding, folder)
    with torch.no_grad():
        return sweep.run(batches, progress)


class _Waiting:
    """Tensors that wait for later nodes, in memory while there is room and in files from there on.

    They are told apart by what they are (floats, or codes of the quantised stream), the name of the
    tensor in the graph, and the number of the batch. Workers put and take at once.
    """

    def __init__(self, folder: Path, room: int) -> None:
        self._folder = folder
        self._left = room
        self._held: dict[tuple[str, str, int], Tensor | Path] = {}
        self._lock = Lock()
        self._files = count()

    def put(self, kind: str, name: str, batch: int, tensor: Tensor) -> None:
        # A view would keep, and count as, all of what it looks at.
        whole = tensor.untyped_storage().nbytes()
        kept: Tensor | Path = tensor
        with self._lock:
            fits = whole <= self._left
            self._left -= whole if fits else 0
        if not fits:
            kept = self._folder / f"{next(self._files)}.npy"
            np.save(kept, tensor.numpy())
        self._held[kind, name, batch] = kept

    def get(self, kind: str, name: str, batch: int) -> Tensor:
        kept = self._held[kind, name, batch]
        return kept if isinstance(kept, torch.Tensor) else torch.from_numpy(np.load(kept))

    def drop(self, kind: str, name: str, batch: int) -> None:
        kept = self._held.pop((kind, name, batch))
        if isinstance(kept, torch.Tensor):
            with self._lock:
                self._left += kept.untyped_storage().nbytes()
        else:
            kept.unlink()


class _Sweep:
    def __init__(self, graph: ir.Graph, layout: Layout, encoding: Encoding, folder: Path) -> None:
        self._graph = graph
        self._layout = layout
        self._encoding = encoding
        self._constants = constants_of(graph)
        self._fitted = dict(self._constants)
        self._waiting = _Waiting(folder, memory() // WAITING_SHARE)
        self._weights: dict[str, Codes] = {}
        self._at_weights = {each.node: each for each in layout.layers}
        self._at_sum = {each.sum.producer(): each for each in layout.layers}
        self._batches: range = range(0)

    def run(self, batches: Iterable[dict[str, Tensor]], progress: Progress) -> Encoding:
        for batch, feeds in enumerate(batches):
            for name, tensor in feeds.items():
                self._keep(name, batch, tensor, tensor)
            self._batches = range(batch + 1)
        nodes = list(self._graph)
        last = last_uses(nodes)
        for place, node in enumerate(nodes):
            if node in self._at_weights:
                self._fit(self._at_weights[node])
            taken = {name_of(each) for each in node.inputs if each is not None}
            moving = taken - self._constants.keys()  # which depend on the example
            self._advance(node, [name for name in moving if last[name] == place])
            progress(place + 1, len(nodes))
        biases = {
            each.name: self._fitted[name_of(each.bias)].numpy()
            for each in self._layout.layers
            if each.bias is not None
        }
        return replace(self._encoding, weights=self._weights, biases=biases)

    def _grid(self, name: str) -> Grid | None:
        if name not in self._layout.points:
            return None
        return self._encoding.grids[self._layout.root(name)]

    def _keep(self, name: str, batch: int, floats: Tensor, quantised: Tensor) -> None:
        self._waiting.put("float", name, batch, floats)
        self._put_quantised(name, batch, quantised)

    def _put_quantised(self, name: str, batch: int, tensor: Tensor) -> None:
        grid = self._grid(name)
        if grid is not None:
            tensor = grid.codes(tensor).to(torch.int8 if grid.low < 0 else torch.uint8)
        self._waiting.put("quantised", name, batch, tensor)

    def _inputs(self, node: ir.Node, batch: int, kind: str) -> list[Tensor | None]:
        taken: list[Tensor | None] = []
        for value in node.inputs:
            if value is None:
                taken.append(None)
            elif name_of(value) in self._constants:
                known = self._constants if kind == "float" else self._fitted
                taken.append(known[name_of(value)])
            else:
                tensor = self._waiting.get(kind, name_of(value), batch)
                grid = self._grid(name_of(value)) if kind == "quantised" else None
                taken.append(tensor if grid is None else grid.numbers(tensor))
        return taken

    def _fit(self, layer: Layer) -> None:
        moments = self._moments(layer)
        covariance = moments.covariance
        weights = torch.from_numpy(layer.weights().astype(np.float64))
        inputs = weights[0].numel()
        count = blocks_of(inputs)
        rows = blocks(weights.reshape(groups_of(layer), -1, inputs), count)
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
        kept = Codes(codes.numpy(), scale.flatten().float().numpy())
        self._weights[layer.name] = kept
        numbers = np.ascontiguousarray(np.moveaxis(kept.numbers(), 0, layer.axis))
        self._fitted[layer.name] = torch.from_numpy(numbers)

    def _moments(self, layer: Layer) -> Moments:
        source = name_of(layer.input)
        grid = self._grid(source)
        assert grid is not None  # the input of every layer is quantised

        def taken(batch: int) -> tuple[Tensor, Tensor]:
            floats = self._waiting.get("float", source, batch)
            return floats, self._waiting.get("quantised", source, batch)

        def seen(some: range) -> BatchMoments:
            return BatchMoments.of(layer, map(taken, some), grid, some[0], fewest)

        first = self._waiting.get("float", source, 0)
        fewest = positions(len(first) * len(self._batches))
        size = largest_part(layer, first, len(self._batches))
        parts = [self._batches[i : i + size] for i in range(0, len(self._batches), size)]
        sums = MomentSums()
        for each in side_by_side(seen, parts):
            sums.add(each)
        return sums.moments()

    def _least_scale(self, layer: Layer) -> Tensor:
        """Return the scales below which the code of the bias would overflow, float64 [C]."""
        grid = self._grid(name_of(layer.input))
        assert grid is not None  # the input of every layer is quantised
        if layer.bias is None:  # where it stays in float, ONNX Runtime still rounds it by itself
            return torch.zeros(len(layer.weights()), dtype=torch.double)
        bias = torch.from_numpy(np.abs(array_of(layer.bias)).astype(np.float64))
        return bias / (grid.scale * LARGEST_BIAS)

    def _advance(self, node: ir.Node, ending: Sequence[str]) -> None:
        """Run one node on both streams, and correct the bias of the layer that ends there.

        What no later node takes goes, batch by batch: `ending` names it.
        """
        layer = self._at_sum.get(node)
        corrected = layer if layer is not None and layer.bias is not None else None

        def step(batch: int) -> tuple[Tensor, int] | None:
            floats = execution.apply(node, self._inputs(node, batch, "float"))
            quantised = execution.apply(node, self._inputs(node, batch, "quantised"))
            for name in ending:
                self._waiting.drop("float", name, batch)
                self._waiting.drop("quantised", name, batch)
            if corrected is None:
                for value, wanted, got in zip(node.outputs, floats, quantised, strict=True):
                    self._keep(name_of(value), batch, wanted, got)
                return None
            name = name_of(corrected.sum)
            self._waiting.put("float", name, batch, floats[0])
            self._waiting.put("raw", name, batch, quantised[0])
            return _error(floats[0], quantised[0], _channel_axis(node, floats[0]))

        errors = [each for each in side_by_side(step, self._batches) if each is not None]
        if corrected is not None:
            self._correct(corrected, errors)

    def _correct(self, layer: Layer, errors: list[tuple[Tensor, int]]) -> None:
        """Give the bias what the outputs lack on average, and the outputs too.

        Errors are sums over each channel, [C], and how many numbers went into each.
        """
        assert layer.bias is not None
        total: Tensor = sum((each for each, _ in errors), start=torch.zeros(()))
        lacking = total / sum(count for _, count in errors)
        self._fitted[name_of(layer.bias)] = self._fitted[name_of(layer.bias)] + lacking
        name = name_of(layer.sum)

        def step(batch: int) -> None:
            got = self._waiting.get("raw", name, batch)
            self._waiting.drop("raw", name, batch)
            axis = _channel_axis(layer.node, got)
            wide = lacking.reshape(-1, *(1,) * (got.ndim - 1 - axis))
            self._put_quantised(name, batch, got.add_(wide))

        list(side_by_side(step, self._batches))


def _channel_axis(node: ir.Node, tensor: Tensor) -> int:
    return 1 if node.op_type == "Conv" else tensor.ndim - 1


def _error(wanted: Tensor, got: Tensor, axis: int) -> tuple[Tensor, int]:
    """Return what outputs lack, summed over each channel, [C], and the numbers of one channel."""
    off = wanted - got
    sums = off.flatten(2).sum(dim=2) if axis == 1 and off.ndim > 2 else off.flatten(0, -2)
    return sums.sum(dim=0), off.numel() // off.shape[axis]
