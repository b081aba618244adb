"""Goes through a graph once, layer by layer, and fits each layer's integers to what reaches it.

It does not choose where or with what ranges activations are quantised.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.compress import operators
from edgetransfer.compress.columns import MomentSums, blocks, blocks_of, groups_of, joined
from edgetransfer.compress.encoding import WEIGHT_LIMIT, Codes, Encoding
from edgetransfer.compress.execution import constants_of, last_uses
from edgetransfer.compress.layout import Layer, Layout, array_of, name_of
from edgetransfer.compress.rounding import best_scales, refit, second_order
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import onnx_ir as ir
    from torch import Tensor

    from edgetransfer.compress.encoding import Grid

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

    Each layer is fitted on its **quantised** inputs, so that it makes up for what the layers
    before it lost: weights by `rounding.second_order`; then the bias takes the mean error of the
    outputs before the activation (Nagel et al. 2019, arXiv 1906.04721, section 4.2; correcting
    behind the clip diverges). What waits for later layers lies in `folder`.

    Args:
        graph: float, weights untied.
        layout: where it is quantised.
        encoding: whose grids are taken; weights and biases are replaced.
        batches: prepared examples, by the names of the graph's inputs.
        folder: an empty one.
        progress: told of nodes done.
    """
    sweep = _Sweep(graph, layout, encoding, folder)
    with torch.no_grad():
        return sweep.run(batches, progress)


class _Waiting:
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
        self._waiting = _Waiting(folder)
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
            floats = operators.apply(node, self._inputs(node, batch, "float"))
            quantised = operators.apply(node, self._inputs(node, batch, "quantised"))
            for value, wanted, got in zip(node.outputs, floats, quantised, strict=True):
                if corrected is not None and corrected.bias is not None:
                    errors.append(_lacking(wanted - got, _channel_axis(node, wanted)))
                    self._waiting.put("float", name_of(value), batch, wanted)
                    self._waiting.put("raw", name_of(value), batch, got)
                else:
                    self._keep(name_of(value), batch, wanted, got)
        if corrected is not None and corrected.bias is not None:
            self._correct(corrected, errors)

    def _correct(self, layer: Layer, errors: list[tuple[Tensor, int]]) -> None:
        """Give the bias what the outputs lack on average, and the outputs too."""
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


def _lacking(error: Tensor, axis: int) -> tuple[Tensor, int]:
    """Return the sum over each channel, and how many numbers went into it."""
    rows = error.transpose(0, axis).flatten(1)
    return rows.sum(dim=1), rows.shape[1]


def batched(examples: Iterable[dict[str, np.ndarray]], size: int) -> Iterator[dict[str, Tensor]]:
    """Join prepared examples of one shape into batches of tensors."""
    waiting: list[dict[str, np.ndarray]] = []
    for example in examples:
        waiting.append(example)
        if len(waiting) == size:
            yield _joined(waiting)
            waiting = []
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in parts[0]
    }
