"""Goes through a graph once, layer by layer, and fits each layer's integers to what reaches it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.compress import execution
from edgetransfer.compress.encoding import WEIGHT_LIMIT, Codes, Encoding, Grid
from edgetransfer.compress.execution import constants_of, halves, last_uses, moves, pad
from edgetransfer.compress.layout import Layer, Layout, array_of, attribute, name_of
from edgetransfer.compress.rounding import best_scales, refit, second_order
from edgetransfer.errors import NumericalError
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import onnx_ir as ir
    from torch import Tensor


FEWEST_POSITIONS = 128
"""Places of one example that are looked at, drawn at random; more for a row of more inputs."""
WIDEST = 4608
"""Inputs of a row that are seen together, as many as 512 channels of 3 x 3; longer rows are cut.
All of 25,088 (the first matrix product of VGG16) would be 5 GB for one matrix."""


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

    def __init__(self, layer: Layer, seed: int) -> None:
        self._layer = layer
        self._generator = torch.Generator().manual_seed(seed)
        self._count = 0
        self._means: list[Tensor] = [torch.zeros((), dtype=torch.double)] * 2
        self._sums: list[Tensor] = [torch.zeros((), dtype=torch.double)] * 2

    def add(self, floats: Tensor, quantised: Tensor) -> None:
        """Take in one batch of inputs, as they should be and as they are; NumericalError of NaN."""
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
    return attribute(layer.node, "group", 1)


def columns(layer: Layer, x: Tensor, generator: torch.Generator) -> Tensor:
    """Return some columns, [G, K, positions of all examples].

    ``weights.reshape(G, C / G, K) @ columns`` are outputs of the layer without its bias. The layer
    is a convolution over any number of axes, or a matrix product; x is a batch of its inputs, and
    the generator draws the places.
    """
    if layer.node.op_type != "Conv":
        return x.reshape(-1, x.shape[-1]).T[None]
    groups, kernel = groups_of(layer), layer.weights().shape[2:]
    strides, dilations = moves(layer.node, len(kernel)).values()
    x = pad(x, *halves(attribute(layer.node, "pads", [0] * (2 * len(kernel)))))
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


LARGEST_BIAS = 2**30
"""Codes of biases stay below this: they are added in 32 bits."""


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
    it lost: weights by `rounding.second_order`; then the bias takes the mean error of the outputs
    before the activation (Nagel et al. 2019, arXiv 1906.04721, section 4.2; correcting behind the
    clip diverges). What waits for later layers lies in `folder`. The graph is float with its
    weights untied; of the encoding the grids are taken. Batches are prepared examples, by the names
    of the graph's inputs; the folder is an empty one.
    """
    sweep = _Sweep(graph, layout, encoding, folder)
    with torch.no_grad():
        return sweep.run(batches, progress)


class _PendingLayer:
    """Tensors on the disk, float as they are and quantised as their codes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, int] = {}

    def _file(self, kind: str, name: str, batch: int) -> Path:
        number = self._names.setdefault(name, len(self._names))
        return self._folder / f"{kind}-{number}-{batch}.npy"

    def put(self, kind: str, name: str, batch: int, tensor: Tensor) -> None:
        np.save(self._file(kind, name, batch), tensor.numpy())

    def get(self, kind: str, name: str, batch: int) -> Tensor:
        return torch.from_numpy(np.load(self._file(kind, name, batch)))

    def drop(self, name: str) -> None:
        for file in self._folder.glob(f"*-{self._names[name]}-*.npy"):
            file.unlink()


class _Sweep:
    def __init__(self, graph: ir.Graph, layout: Layout, encoding: Encoding, folder: Path) -> None:
        self._graph = graph
        self._layout = layout
        self._encoding = encoding
        self._constants = constants_of(graph)
        self._fitted = dict(self._constants)
        self._waiting = _PendingLayer(folder)
        self._weights: dict[str, Codes] = {}
        self._at_weights = {each.node: each for each in layout.layers}
        self._at_sum = {each.sum.producer(): each for each in layout.layers}
        self._batches = 0

    def run(self, batches: Iterable[dict[str, Tensor]], progress: Progress) -> Encoding:
        for batch in batches:
            for name, tensor in batch.items():
                self._keep(name, self._batches, tensor, tensor)
            self._batches += 1
        nodes = list(self._graph)
        last = last_uses(nodes)
        for place, node in enumerate(nodes):
            if node in self._at_weights:
                self._fit(self._at_weights[node])
            self._advance(node)
            for name in self._moving(node):
                if last[name] == place:
                    self._waiting.drop(name)
            progress(place + 1, len(nodes))
        biases = {
            each.name: self._fitted[name_of(each.bias)].numpy()
            for each in self._layout.layers
            if each.bias is not None
        }
        return replace(self._encoding, weights=self._weights, biases=biases)

    def _moving(self, node: ir.Node) -> list[str]:
        """Return the inputs of a node that depend on the example, each once."""
        names = dict.fromkeys(name_of(each) for each in node.inputs if each is not None)
        return [name for name in names if name not in self._constants]

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

    def _quantised(self, name: str, batch: int) -> Tensor:
        tensor, grid = self._waiting.get("quantised", name, batch), self._grid(name)
        return tensor if grid is None else (tensor.float() - grid.zero_point) * grid.scale

    def _inputs(self, node: ir.Node, batch: int, kind: str) -> list[Tensor | None]:
        taken: list[Tensor | None] = []
        for value in node.inputs:
            if value is None:
                taken.append(None)
            elif name_of(value) in self._constants:
                known = self._constants if kind == "float" else self._fitted
                taken.append(known[name_of(value)])
            elif kind == "float":
                taken.append(self._waiting.get("float", name_of(value), batch))
            else:
                taken.append(self._quantised(name_of(value), batch))
        return taken

    def _fit(self, layer: Layer) -> None:
        sums = MomentSums(layer, seed=0)
        source = name_of(layer.input)
        for batch in range(self._batches):
            sums.add(self._waiting.get("float", source, batch), self._quantised(source, batch))
        moments = sums.moments()
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

    def _least_scale(self, layer: Layer) -> Tensor:
        """Return the scales below which the code of the bias would overflow, float64 [C]."""
        grid = self._grid(name_of(layer.input))
        assert grid is not None  # the input of every layer is quantised
        if layer.bias is None:  # where it stays in float, ONNX Runtime still rounds it by itself
            return torch.zeros(len(layer.weights()), dtype=torch.double)
        bias = torch.from_numpy(np.abs(array_of(layer.bias)).astype(np.float64))
        return bias / (grid.scale * LARGEST_BIAS)

    def _advance(self, node: ir.Node) -> None:
        """Run one node on both streams, and correct the bias of the layer that ends there."""
        errors = []
        corrected = self._at_sum.get(node)
        for batch in range(self._batches):
            floats = execution.apply(node, self._inputs(node, batch, "float"))
            quantised = execution.apply(node, self._inputs(node, batch, "quantised"))
            for value, wanted, got in zip(node.outputs, floats, quantised, strict=True):
                if corrected is not None and corrected.bias is not None:
                    rows = (wanted - got).transpose(0, _channel_axis(node, wanted)).flatten(1)
                    errors.append((rows.sum(dim=1), rows.shape[1]))
                    self._waiting.put("float", name_of(value), batch, wanted)
                    self._waiting.put("raw", name_of(value), batch, got)
                else:
                    self._keep(name_of(value), batch, wanted, got)
        if corrected is not None and corrected.bias is not None:
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
        for batch in range(self._batches):
            got = self._waiting.get("raw", name, batch)
            axis = _channel_axis(layer.node, got)
            wide = lacking.reshape(-1, *(1,) * (got.ndim - 1 - axis))
            self._put_quantised(name, batch, got + wide)


def _channel_axis(node: ir.Node, tensor: Tensor) -> int:
    return 1 if node.op_type == "Conv" else tensor.ndim - 1
