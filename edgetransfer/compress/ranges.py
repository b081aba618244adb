"""Chooses the range of every quantised tensor from what was seen of it.

It does not run a network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgetransfer.compress.encoding import Grid, grid_over
from edgetransfer.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from edgetransfer.compress.observe import Histogram
    from edgetransfer.spec.catalogue import CalibrationRecipe
    from edgetransfer.spec.target import Int8Scheme

SHRINKS = torch.linspace(1.0, 0.3, 71).tolist()
"""Shares of the whole range that are tried."""
LEVELS = 128
"""Of the coarser distribution that an entropy range is compared by."""

Range = tuple[float, float]


def choose_grids(
    seen: Mapping[str, Histogram], recipe: CalibrationRecipe, scheme: Int8Scheme
) -> dict[str, Grid]:
    """Return a grid for every tensor that was watched.

    ``auto`` tries all methods on every tensor and takes the one whose grid loses least, by the
    mean squared error over what was seen.

    Raises:
        StageError: a tensor is not finite.
    """
    return {name: _grid(name, each, recipe, scheme) for name, each in seen.items()}


def _grid(name: str, seen: Histogram, recipe: CalibrationRecipe, scheme: Int8Scheme) -> Grid:
    extremes = torch.tensor(seen.extremes)
    if not torch.isfinite(extremes).all():
        raise StageError(
            "the float network gives NaN or Inf on the calibration examples",
            where=f"tensor {name}",
            found=f"values from {extremes[:, 0].min()} to {extremes[:, 1].max()}",
            fix="check the network and its preprocessing in float first",
        )
    candidates = [
        grid_over(*each, scheme.activation, symmetric=scheme.symmetric_activation)
        for each in ranges(seen, recipe)
    ]
    return min(candidates, key=lambda grid: squared_error(seen, grid))


def ranges(seen: Histogram, recipe: CalibrationRecipe) -> Sequence[Range]:
    """Return the ranges to choose from by a recipe's method."""
    whole = (seen.low, seen.high)
    match recipe.method:
        case "minmax":
            return [whole]
        case "moving":
            return [moving_average(seen)]
        case "percentile":
            return [percentile(seen, recipe.percentile)]
        case "entropy":
            return [entropy(seen)]
        case "mse":
            return _shrunk(seen)
        case "auto":
            few = [whole, moving_average(seen), percentile(seen, recipe.percentile), entropy(seen)]
            return [*few, *_shrunk(seen)]


def moving_average(seen: Histogram) -> Range:
    """Return the average extremes of a batch (Jacob et al. 2018, section 3.1).

    All batches weigh the same: a few dozen do not have a beginning to forget.
    """
    extremes = torch.tensor(seen.extremes, dtype=torch.double).mean(dim=0)
    return min(float(extremes[0]), 0.0), max(float(extremes[1]), 0.0)


def percentile(seen: Histogram, kept: float) -> Range:
    """Return the range that keeps `kept` percent, half of the rest cut off at either end."""
    shares = seen.counts.cumsum(0) / seen.counts.sum()
    cut = (1 - kept / 100) / 2
    centres = seen.centres()
    low = centres[int(torch.searchsorted(shares, cut))]
    high = centres[min(int(torch.searchsorted(shares, 1 - cut)), len(centres) - 1)]
    return min(float(low), 0.0), max(float(high), 0.0)


def entropy(seen: Histogram) -> Range:
    """Return the range whose coarse distribution is nearest to what was seen.

    Migacz (2017), 8-bit inference with TensorRT: Kullback-Leibler divergence between the
    clipped distribution and its quantised form. The bin of zero is left out, as ReLU fills it.
    """
    options = _shrunk(seen)
    return min(options, key=lambda each: _divergence(seen, each))


def _divergence(seen: Histogram, kept: Range) -> float:
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


def _shrunk(seen: Histogram) -> list[Range]:
    """Return shares of the whole range; a range that begins at zero keeps its beginning.

    The least mean squared error over such ranges is the choice of Sung et al. (2015, arXiv
    1511.06488) and others after them.
    """
    return [(seen.low * share, seen.high * share) for share in SHRINKS]


def squared_error(seen: Histogram, grid: Grid) -> float:
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
