"""Watches what flows through a float graph, in constant memory, and chooses ranges by it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.compress.encoding import Grid, grid_over
from edgetransfer.compress.execution import Execution
from edgetransfer.compress.layout import clip_bounds, name_of
from edgetransfer.errors import StageError
from edgetransfer.graph.prepare import side_by_side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import onnx_ir as ir
    from torch import Tensor

    from edgetransfer.spec.catalogue import CalibrationRecipe
    from edgetransfer.spec.target import Int8Scheme


SHRINKS = torch.linspace(1.0, 0.3, 71).tolist()
"""Shares of the whole range that are tried."""
LEVELS = 128
"""Of the coarser distribution that an entropy range is compared by."""
Range = tuple[float, float]


def choose_grids(
    seen: Mapping[str, ActivationHistogram], recipe: CalibrationRecipe, scheme: Int8Scheme
) -> dict[str, Grid]:
    """Return a grid for every tensor that was watched; StageError where one is not finite.

    ``auto`` tries all methods on every tensor and takes the one whose grid loses least, by the mean
    squared error over what was seen.
    """
    grids = {}
    for name, each in seen.items():
        _refuse_unbounded(name, *torch.tensor(each.extremes).T)
        candidates = [_over(found, scheme) for found in ranges(each, recipe)]
        grids[name] = min(candidates, key=partial(squared_error, each))
    return grids


def whole_grids(
    seen: Mapping[str, Channels], names: Iterable[str], scheme: Int8Scheme
) -> dict[str, Grid]:
    """Return the grid over all that was seen (``minmax``); StageError where that is not finite."""
    for name in names:
        _refuse_unbounded(name, seen[name].low, seen[name].high)
    return {
        name: _over((float(seen[name].low.min()), float(seen[name].high.max())), scheme)
        for name in names
    }


def _over(found: Range, scheme: Int8Scheme) -> Grid:
    return grid_over(*found, scheme.activation, symmetric=scheme.symmetric_activation)


def _refuse_unbounded(name: str, low: Tensor, high: Tensor) -> None:
    if not (torch.isfinite(low).all() and torch.isfinite(high).all()):
        raise StageError(
            "the float network gives NaN or Inf on the calibration examples",
            where=f"tensor {name}",
            found=f"values from {low.min()} to {high.max()}",
            fix="check the network and its preprocessing in float first",
        )


def ranges(seen: ActivationHistogram, recipe: CalibrationRecipe) -> Sequence[Range]:
    """Return the ranges to choose from by a recipe's method."""
    methods: dict[str, Callable[[], list[Range]]] = {
        "minmax": lambda: [(seen.low, seen.high)],
        "moving": lambda: [moving_average(seen)],
        "percentile": lambda: [percentile(seen, recipe.percentile)],
        "entropy": lambda: [entropy(seen)],
        "mse": lambda: _shrunk(seen),
    }
    chosen = methods.values() if recipe.method == "auto" else [methods[recipe.method]]
    return [each for method in chosen for each in method()]


def moving_average(seen: ActivationHistogram) -> Range:
    """Return the average extremes of a batch (Jacob et al. 2018, section 3.1).

    All batches weigh the same: a few dozen do not have a beginning to forget.
    """
    extremes = torch.tensor(seen.extremes, dtype=torch.double).mean(dim=0)
    return min(float(extremes[0]), 0.0), max(float(extremes[1]), 0.0)


def percentile(seen: ActivationHistogram, kept: float) -> Range:
    """Return the range that keeps `kept` percent, half of the rest cut off at either end."""
    shares = seen.counts.cumsum(0) / seen.counts.sum()
    cut = (1 - kept / 100) / 2
    centres = seen.centres()
    low = centres[int(torch.searchsorted(shares, cut))]
    high = centres[min(int(torch.searchsorted(shares, 1 - cut)), len(centres) - 1)]
    return min(float(low), 0.0), max(float(high), 0.0)


def entropy(seen: ActivationHistogram) -> Range:
    """Return the range whose coarse distribution is nearest to what was seen.

    Migacz (2017), 8-bit inference with TensorRT: Kullback-Leibler divergence between the
    clipped distribution and its quantised form. The bin of zero is left out, as ReLU fills it.
    """
    options = _shrunk(seen)
    return min(options, key=lambda each: _divergence(seen, each))


def _divergence(seen: ActivationHistogram, kept: Range) -> float:
    centres = seen.centres()
    width = (seen.high - seen.low) / len(centres)
    seen_counts = torch.where(centres.abs() <= width, 0.0, seen.counts)
    inside = (centres >= kept[0]) & (centres <= kept[1])
    counts = seen_counts[inside]
    if counts.numel() < LEVELS:
        return float("inf")
    wanted = counts.clone()
    wanted[0] += seen_counts[centres < kept[0]].sum()
    wanted[-1] += seen_counts[centres > kept[1]].sum()
    level = torch.arange(counts.numel()) * LEVELS // counts.numel()
    filled = (counts > 0).double()
    sums = torch.zeros(LEVELS, dtype=torch.double).index_add_(0, level, counts)
    sizes = torch.zeros(LEVELS, dtype=torch.double).index_add_(0, level, filled)
    coarse = (sums / sizes.clamp(min=1))[level] * filled
    p, q = wanted / wanted.sum(), (coarse + 1e-9) / (coarse + 1e-9).sum()
    return float((p * (p.clamp(min=1e-30) / q).log()).sum())


def _shrunk(seen: ActivationHistogram) -> list[Range]:
    """Return shares of the whole range; a range that begins at zero keeps its beginning.

    The least mean squared error over such ranges is the choice of Sung et al. (2015, arXiv
    1511.06488) and others after them.
    """
    return [(seen.low * share, seen.high * share) for share in SHRINKS]


def squared_error(seen: ActivationHistogram, grid: Grid) -> float:
    """Return the mean squared error of rounding to a grid, expected over a histogram.

    A bin is wider than nothing: numbers within one are taken as spread evenly, so that a step
    smaller than the bin still counts.
    """
    centres = seen.centres()
    low, high = grid.bounds
    outside = (centres < low) | (centres > high)
    clipped = (centres - centres.clamp(low, high)).square()
    errors: Tensor = torch.where(outside, clipped, torch.full_like(centres, grid.scale**2 / 12))
    return float((errors * seen.counts).sum() / seen.counts.sum().clamp(min=1))


BINS = 2048
MOST_COUNTED = 200_000
"""Numbers of one batch that go into a histogram at most, spread evenly."""


MOST_PLACES = 1024
"""Of one batch whose moments are taken, spread evenly; extremes are those of all."""
NUMBERS_AT_ONCE = 2048
"""Of rows that lie one behind another: NumPy takes one of so many twice as fast as torch does."""


@dataclass
class Channels:
    """Extremes and mean squares of one tensor, for each channel (axis 1), float64 [C].

    Where channels were rescaled since, numbers that were seen lack `offset` and are then divided by
    `factor`.
    """

    low: Tensor
    high: Tensor
    square: Tensor
    mean: Tensor
    count: int = 0
    offset: Tensor | None = None
    factor: Tensor | None = None

    @staticmethod
    def of(x: Tensor, *, floored: bool = False) -> Channels:
        """Look at one batch [N, C, ...]; of what is `floored` at zero, zero counts as the least.

        Where channels lie side by side, moments are those of `MOST_PLACES`.
        """
        x = x.reshape(1, 1, -1) if x.ndim < 2 else x
        rows = x.movedim(1, -1)
        if rows.is_contiguous():
            rows = rows.flatten(0, -2)
            high = _over_rows(np.maximum, rows)
            low = torch.zeros_like(high) if floored else _over_rows(np.minimum, rows)
            if len(rows) > MOST_PLACES:
                spread = torch.linspace(0, len(rows) - 1, MOST_PLACES, dtype=torch.double)
                rows = rows[spread.long()]
            x = rows[:, :, None]
        else:
            others = [0, *range(2, x.ndim)]
            low, high = x.amin(dim=others), x.amax(dim=others)
        mean, variance = (
            each.double() for each in torch.batch_norm_update_stats(x, None, None, 0.0)
        )
        count = x.numel() // x.shape[1]
        square = count * (variance + mean.square())
        return Channels(low.double(), high.double(), square, count * mean, count)

    def add(self, other: Channels) -> None:
        """Take in another batch."""
        self.low = torch.minimum(self.low, other.low)
        self.high = torch.maximum(self.high, other.high)
        self.square += other.square
        self.mean += other.mean
        self.count += other.count

    def scale(self, by: Tensor) -> None:
        """Follow what divides each channel by a positive number, float64 [C]."""
        self.low, self.high, self.mean = self.low / by, self.high / by, self.mean / by
        self.square = self.square / by.square()
        self.factor = by if self.factor is None else self.factor * by

    def centre(self) -> None:
        """Follow what takes the mean from each channel."""
        mean = self.mean / self.count
        self.low, self.high = self.low - mean, self.high - mean
        self.square = (self.square - self.count * mean.square()).clamp(min=0)
        self.mean = torch.zeros_like(mean)
        moved = mean if self.factor is None else mean * self.factor
        self.offset = moved if self.offset is None else self.offset + moved


def _over_rows(function: np.ufunc, rows: Tensor) -> Tensor:
    """Reduce rows [P, C] to one."""
    many, channels = rows.shape
    array = rows.numpy()
    beside = max(1, min(NUMBERS_AT_ONCE // channels, many))
    whole = many // beside * beside
    wide = function.reduce(array[:whole].reshape(-1, beside * channels), axis=0)
    parts = np.concatenate([wide.reshape(beside, channels), array[whole:]])
    return torch.from_numpy(function.reduce(parts, axis=0))


class ActivationHistogram:
    """Counts of one tensor's numbers in bins that are equally wide; widened as it needs.

    Bins, of which `counts` float64 [BINS] tells, lie between `low` and `high`; `extremes` are
    (least, largest) of every batch.
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
    graph: ir.Graph,
    names: Iterable[str],
    batches: Iterable[dict[str, Tensor]],
    hook: Callable[[str, int, Tensor], None] | None = None,
) -> dict[str, Channels]:
    """Return extremes and moments of some tensors over all batches.

    A `hook` is given the name of every tensor, the number of the batch, and the tensor.
    """
    wanted = set(names)
    execution = Execution(graph, overwrites=True)
    outputs = (value for node in graph for value in node.outputs)
    floored = {name_of(each) for each in outputs if clip_bounds(each)[0] >= 0}
    wide = torch.channels_last  # convolutions of channels one by one take half the time
    constants = {
        name: each.contiguous(memory_format=wide)
        for name, each in execution.constants.items()
        if each.ndim == 4
    }

    def look(item: tuple[int, dict[str, Tensor]]) -> dict[str, Channels]:
        number, batch = item
        found: dict[str, Channels] = {}

        def visit(name: str, tensor: Tensor) -> Tensor:
            if name in wanted:
                found[name] = Channels.of(tensor, floored=name in floored)
            if hook is not None:
                hook(name, number, tensor)
            return tensor

        feeds = {
            name: each.contiguous(memory_format=wide) if each.ndim == 4 else each
            for name, each in batch.items()
        }
        execution.run(feeds, visit, constants)
        return found

    seen: dict[str, Channels] = {}
    for found in side_by_side(look, enumerate(batches)):
        for name, each in found.items():
            if name in seen:
                seen[name].add(each)
            else:
                seen[name] = each
    return seen


def watch_ranges(
    graph: ir.Graph, names: Sequence[str], batches: Iterable[dict[str, Tensor]]
) -> dict[str, ActivationHistogram]:
    """Return histograms of some tensors over all batches."""
    seen = {name: ActivationHistogram() for name in names}

    def visit(name: str, tensor: Tensor) -> Tensor:
        if name in seen:
            seen[name].add(tensor)
        return tensor

    execution = Execution(graph)
    with torch.no_grad():
        for batch in batches:
            execution.run(batch, visit)
    return seen
