"""The rule by which two variants were compared before `etb-1`: resample paired blocks.

Kept to show what it gets wrong, see `comparison_rule`; the package does not use it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Blocked:
    """Times [N] and the number [N] of the block each was taken in, from 0."""

    values: NDArray[Any]
    block: NDArray[Any]


def median_ratios(
    reference: Blocked, candidate: Blocked, blocks: int, *, seed: int, resamples: int = 2000
) -> NDArray[np.float64]:
    """Draws [R] of median(reference) / median(candidate) when blocks are drawn anew.

    A block is drawn for both at once, so drift that hits both at the same time cancels. Source:
    Kalibera and Jones, "Rigorous benchmarking in reasonable time", ISMM 2013 (resample the level
    where variance enters); Carlstein, Annals of Statistics 14 (1986) for blocks.

    Raises:
        ValueError: a block has no sample of one of the two.
    """
    for side in (reference, candidate):
        if len(np.unique(side.block)) != blocks:
            msg = f"each of the {blocks} blocks needs a sample of both variants"
            raise ValueError(msg)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    above = _weighted_medians(reference, draws)
    below = _weighted_medians(candidate, draws)
    return above / below


def _weighted_medians(samples: Blocked, weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Lower medians [R] when block k counts weights[r, k] times.

    Finds the stretch of about sqrt(N) ordered samples that holds the median, then the sample:
    R (sqrt(N) + blocks sqrt(N)) steps instead of R N.
    """
    order = np.argsort(samples.values, kind="stable")
    ordered, block = samples.values[order].astype(np.float64), samples.block[order]
    stretch = isqrt(len(ordered) - 1) + 1
    where = np.arange(len(ordered)) // stretch
    counts = np.zeros((where[-1] + 1, weights.shape[1]), np.int64)
    np.add.at(counts, (where, block), 1)
    passed = np.cumsum(weights @ counts.T, axis=1)
    total = passed[:, -1:]
    coarse = (2 * passed < total).sum(axis=1)
    before = np.where(coarse > 0, passed[np.arange(len(weights)), coarse - 1], 0)
    places = coarse[:, None] * stretch + np.arange(stretch)
    inside = np.minimum(places, len(ordered) - 1)  # the median comes before any place beyond
    own = np.take_along_axis(weights, block[inside], axis=1)
    fine = (2 * (before[:, None] + np.cumsum(own, axis=1)) < total).sum(axis=1)
    return np.asarray(ordered[coarse * stretch + fine])
