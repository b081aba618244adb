"""A quantised graph that can be trained: rounding is simulated, and gradients pass through it.

It does not train itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgetransfer.compress.encoding import WEIGHT_LIMIT, Codes, Encoding
from edgetransfer.compress.execution import Execution
from edgetransfer.compress.layout import Layer, Layout, array_of, clip_bounds, name_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from torch import Tensor

    from edgetransfer.compress.encoding import Grid

KEPT_CODE = 0.45
"""How far a weight may start from the number it is rounded to, in steps: under a half."""


def round_through(x: Tensor) -> Tensor:
    """Round, with the gradient of not rounding (Bengio et al. 2013, arXiv 1308.3432).

    >>> round_through(torch.tensor([0.4, 1.6])).tolist()
    [0.0, 2.0]
    """
    return x + (torch.round(x) - x).detach()


class LearnedGrid(nn.Module):
    """A grid whose step is learnt, by its logarithm (Esser et al. 2020, LSQ, arXiv 1902.08153).

    Args:
        grid: where it starts.
        most: the number that the grid may not pass, so that a Clip there goes on to vanish.
    """

    def __init__(self, grid: Grid, most: float) -> None:
        super().__init__()
        self._grid = grid
        self.log_scale = nn.Parameter(torch.tensor(grid.scale, dtype=torch.double).log().float())
        steps = grid.high - grid.zero_point
        self._largest = most / steps if np.isfinite(most) and steps > 0 else np.inf

    def _scale(self) -> Tensor:
        return self.log_scale.exp().clamp(max=self._largest)

    def forward(self, x: Tensor) -> Tensor:
        """Round `x` to the grid."""
        scale, grid = self._scale(), self._grid
        codes = torch.clamp(x / scale + grid.zero_point, grid.low, grid.high)
        return (round_through(codes) - grid.zero_point) * scale

    def grid(self) -> Grid:
        """Return the grid as it is now."""
        return replace(self._grid, scale=float(self._scale().detach()))


class FreeWeights(nn.Module):
    """Weights that training moves, rounded to a fixed step at every use.

    They start near the codes they were given, on the side where the float weight lies.
    """

    def __init__(self, layer: Layer, codes: Codes) -> None:
        super().__init__()
        near, self.scale = _near(layer, codes)
        self.weight = nn.Parameter(near * self.scale)

    def steps(self) -> Tensor:
        """Return the codes as floats, with gradients."""
        return _codes(self.weight / self.scale)


class LearnedRounding(nn.Module):
    """Weights of which only the rounding is learnt: each ends on its own code or one beside it.

    Cheng et al. (2024), SignRound, arXiv 2309.05516, after Nagel et al. (2020), AdaRound, arXiv
    2004.10568: what is added before rounding is learnt, at most half a step. The network that is
    trained is always the rounded one, so nothing has to settle in the end.
    """

    def __init__(self, layer: Layer, codes: Codes) -> None:
        super().__init__()
        self._near, self.scale = _near(layer, codes)
        self.shift = nn.Parameter(torch.zeros_like(self._near))

    def steps(self) -> Tensor:
        """Return the codes as floats, with gradients."""
        return _codes(self._near + torch.clamp(self.shift, -0.5, 0.5))


def _near(layer: Layer, codes: Codes) -> tuple[Tensor, Tensor]:
    """Return numbers that round to the codes, in steps, and the steps; channels first."""
    given = torch.from_numpy(codes.codes.astype(np.float32))
    scale = torch.from_numpy(codes.scale).reshape(-1, *(1,) * (given.ndim - 1))
    floats = torch.from_numpy(np.array(layer.weights())) / scale
    return given + torch.clamp(floats - given, -KEPT_CODE, KEPT_CODE), scale


def _codes(steps: Tensor) -> Tensor:
    return round_through(torch.clamp(steps, -WEIGHT_LIMIT, WEIGHT_LIMIT))


class FakeQuantised(nn.Module):
    """A graph with its encoding, as a module: inputs by name -> first output.

    Args:
        graph: float.
        layout: where it is quantised.
        encoding: where training starts.
        weights: how the weights are learnt.
    """

    def __init__(
        self,
        graph: ir.Graph,
        layout: Layout,
        encoding: Encoding,
        weights: type[FreeWeights] | type[LearnedRounding],
    ) -> None:
        super().__init__()
        self._layout = layout
        self._encoding = encoding
        self._execution = Execution(graph)
        bounds = {name_of(o): clip_bounds(o)[1] for node in graph for o in node.outputs}
        self._roots = {name: place for place, name in enumerate(layout.roots())}
        self._grids = [
            LearnedGrid(encoding.grids[name], bounds.get(name, np.inf)) for name in self._roots
        ]
        self._weights = [weights(layer, encoding.weights[layer.name]) for layer in layout.layers]
        self.grids, self.weights = nn.ModuleList(self._grids), nn.ModuleList(self._weights)
        self.biases = nn.ParameterList(
            nn.Parameter(torch.from_numpy(np.array(self._bias(layer)))) for layer in layout.layers
        )
        self._points = set(layout.points)

    def _bias(self, layer: Layer) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        if layer.bias is None:
            return np.zeros(0, dtype=np.float32)
        found = self._encoding.biases.get(layer.name)
        return np.asarray(array_of(layer.bias) if found is None else found)

    def forward(self, feeds: Mapping[str, Tensor], seen: dict[str, Tensor] | None = None) -> Tensor:
        """Run the graph with rounding.

        Args:
            feeds: inputs by name.
            seen: takes the quantised tensors whose names it has as keys.
        """

        def visit(name: str, tensor: Tensor) -> Tensor:
            if name in self._points:
                tensor = self._grids[self._roots[self._layout.root(name)]](tensor)
            if seen is not None and name in seen:
                seen[name] = tensor
            return tensor

        output: Tensor = self._execution.run(feeds, visit, self._constants())[0]
        return output

    def _constants(self) -> dict[str, Tensor]:
        constants = {}
        for layer, weights, bias in zip(
            self._layout.layers, self._weights, self.biases, strict=True
        ):
            numbers = weights.steps() * weights.scale
            constants[layer.name] = torch.movedim(numbers, 0, layer.axis).contiguous()
            if layer.bias is not None:
                constants[name_of(layer.bias)] = bias
        return constants

    def encoding(self) -> Encoding:
        """Return what training came to."""
        layers = self._layout.layers
        codes = {
            layer.name: replace(
                self._encoding.weights[layer.name],
                codes=weights.steps().detach().to(torch.int8).numpy(),
            )
            for layer, weights in zip(layers, self._weights, strict=True)
        }
        biases = {
            layer.name: bias.detach().numpy().copy()
            for layer, bias in zip(layers, self.biases, strict=True)
            if layer.bias is not None
        }
        grids = {name: self._grids[place].grid() for name, place in self._roots.items()}
        return replace(self._encoding, grids=grids, weights=codes, biases=biases)
