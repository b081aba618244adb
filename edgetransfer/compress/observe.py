"""Watches what flows through a float graph: extremes, moments and histograms of its tensors.

It does not choose ranges. Memory does not grow with the number of examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

import torch

from edgetransfer.compress.execution import Execution

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx_ir as ir
    from torch import Tensor

BINS = 2048
MOST_COUNTED = 200_000
"""Numbers of one batch that go into a histogram at most, spread evenly."""


@dataclass
class Channels:
    """Extremes and mean squares of one tensor, for each channel (axis 1), float64 [C]."""

    low: Tensor
    high: Tensor
    square: Tensor
    mean: Tensor
    count: int = 0

    @staticmethod
    def of(x: Tensor) -> Channels:
        """Look at one batch [N, C, ...]."""
        rows = x.transpose(0, 1).flatten(1) if x.ndim > 1 else x[None]
        return Channels(
            rows.amin(dim=1).double(),
            rows.amax(dim=1).double(),
            rows.square().sum(dim=1, dtype=torch.double),
            rows.sum(dim=1, dtype=torch.double),
            rows.shape[1],
        )

    def add(self, other: Channels) -> None:
        """Take in another batch."""
        self.low = torch.minimum(self.low, other.low)
        self.high = torch.maximum(self.high, other.high)
        self.square += other.square
        self.mean += other.mean
        self.count += other.count


class Histogram:
    """Counts of one tensor's numbers in bins that are equally wide; widened as it needs.

    Attributes:
        low: left side of the first bin.
        high: right side of the last.
        counts: float64 [BINS].
        extremes: (least, largest) of every batch.
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.counts = torch.zeros(BINS, dtype=torch.double)
        self.extremes: list[tuple[float, float]] = []

    def add(self, x: Tensor) -> None:
        """Take in one batch; its extremes count whole, of its numbers a spread of them."""
        least, most = float(x.min()), float(x.max())
        self.extremes.append((least, most))
        if not (isfinite(least) and isfinite(most)):
            return
        if least < self.low or most > self.high or not self.high > self.low:
            self._widen(min(least, self.low), max(most, self.high))
        flat = x.flatten()
        flat = flat[:: max(1, flat.numel() // MOST_COUNTED)].float()
        self.counts += torch.histc(flat, BINS, self.low, self.high).double()

    def _widen(self, low: float, high: float) -> None:
        high = high if high > low else low + 1e-6
        if self.counts.any():
            places = (self.centres() - low) / (high - low) * BINS
            moved = torch.zeros_like(self.counts)
            moved.index_add_(0, places.long().clamp(0, BINS - 1), self.counts)
            self.counts = moved
        self.low, self.high = low, high

    def centres(self) -> Tensor:
        """Return the middle of every bin, float64 [BINS]."""
        width = (self.high - self.low) / BINS
        return self.low + width * (torch.arange(BINS, dtype=torch.double) + 0.5)


def watch_channels(
    graph: ir.Graph, names: Iterable[str], batches: Iterable[dict[str, Tensor]]
) -> dict[str, Channels]:
    """Return extremes and moments of some tensors over all batches."""
    wanted = set(names)
    seen: dict[str, Channels] = {}

    def visit(name: str, tensor: Tensor) -> Tensor:
        if name in wanted:
            new = Channels.of(tensor)
            if name in seen:
                seen[name].add(new)
            else:
                seen[name] = new
        return tensor

    execution = Execution(graph)
    with torch.no_grad():
        for batch in batches:
            execution.run(batch, visit)
    return seen


def watch_ranges(
    graph: ir.Graph, names: Sequence[str], batches: Iterable[dict[str, Tensor]]
) -> dict[str, Histogram]:
    """Return histograms of some tensors over all batches."""
    seen = {name: Histogram() for name in names}

    def visit(name: str, tensor: Tensor) -> Tensor:
        if name in seen:
            seen[name].add(tensor)
        return tensor

    execution = Execution(graph)
    with torch.no_grad():
        for batch in batches:
            execution.run(batch, visit)
    return seen
