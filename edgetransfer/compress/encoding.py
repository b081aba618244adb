"""The integers of a quantised graph with the scales that give them meaning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from edgetransfer.spec.target import Int8Scheme

Array = np.ndarray[Any, Any]
LIMITS = {"u8": (0, 255), "s8": (-128, 127)}
WEIGHT_LIMIT = 127
"""Codes of weights lie symmetrically: -127 to 127."""
SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class Grid:
    """Where the integers of one tensor lie: ``real = scale * (code - zero_point)``.

    >>> grid = grid_over(-1.0, 3.0, "u8", symmetric=False)
    >>> grid.zero_point, round(grid.scale * 255, 6)
    (64, 4.0)
    """

    scale: float
    zero_point: int
    low: int
    high: int

    @property
    def bounds(self) -> tuple[float, float]:
        """Return the smallest and largest number that it holds."""
        return (
            self.scale * (self.low - self.zero_point),
            self.scale * (self.high - self.zero_point),
        )

    def codes(self, x: Tensor) -> Tensor:
        """Round numbers to codes, halves to even, as the runtime does; float tensor."""
        codes = x / self.scale
        return codes.round_().add_(self.zero_point).clamp_(self.low, self.high)

    def numbers(self, codes: Tensor) -> Tensor:
        """Return what codes of any type stand for, float32 of the same shape.

        >>> Grid(0.5, 64, 0, 255).numbers(torch.tensor([66], dtype=torch.uint8))
        tensor([1.])
        """
        numbers = codes.to(torch.float32, copy=True)
        return numbers.sub_(self.zero_point).mul_(self.scale)

    def round(self, x: Tensor) -> Tensor:
        """Return the numbers that are left of `x`, of the same shape."""
        return self.codes(x).sub_(self.zero_point).mul_(self.scale)


def grid_over(low: float, high: float, kind: str, *, symmetric: bool) -> Grid:
    """Return the grid that covers a range and holds an exact zero.

    The kind is ``u8`` or ``s8``; of a symmetric one the zero point is the middle: 0 or 128.
    """
    least, most = LIMITS[kind]
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        middle = (least + most + 1) // 2
        scale = max(-low, high) / (most - middle)
        return Grid(_usable(scale), middle, least if kind == "u8" else -127, most)
    scale = _usable((high - low) / (most - least))
    return Grid(scale, int(np.clip(round(least - low / scale), least, most)), least, most)


def _usable(scale: float) -> float:
    return float(np.float32(max(scale, SMALLEST_SCALE)))


@dataclass(frozen=True)
class Codes:
    """Quantised weights of one layer, int8 [C, ...] from -127 to 127, and scales, float32 [C].

    Output channels come first; scales are all equal where the target wants one a tensor.
    """

    codes: Array
    scale: Array

    def numbers(self) -> Array:
        """Return the weights that they stand for, float32 of the codes' shape."""
        wide = self.scale.reshape(-1, *(1,) * (self.codes.ndim - 1))
        numbers: Array = (self.codes * wide).astype(np.float32)
        return numbers


@dataclass(frozen=True)
class Encoding:
    """All that turns a float graph into an integer one.

    Grids are of every quantised tensor that does not share another's; codes are by the name of the
    weights, and so are the biases, float32 [C], that replace those of the graph.
    """

    grids: Mapping[str, Grid]
    weights: Mapping[str, Codes]
    biases: Mapping[str, Array]
    scheme: Int8Scheme
