"""The centre and the divisor of features that linear heads are fitted on: Pareto scaling.

It does not fit a head, and loads numpy only: what judges a bundle reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SMALLEST_SPREAD = 0.01
"""Share of the mean standard deviation below which a feature counts as constant."""


ROUNDED = 0.05
"""Of the spread: where 16-bit floats would move a number further, all are kept in 32 bits."""


def in_16_bits(numbers: Array, spread: Array) -> Array:
    """Return numbers [..., D] as float16 where that is exact beside their spread [D], else float32.

    >>> kinds = [in_16_bits(np.array([each]), np.array([1e-3])) for each in (0.5, 2.65, 7e4)]
    >>> [each.dtype.name for each in kinds]
    ['float16', 'float32', 'float32']
    """
    least = np.maximum(spread, SMALLEST_SPREAD * float(np.mean(spread)))
    with np.errstate(over="ignore"):  # it is inf then, and far
        small = numbers.astype(np.float16)
    moved = np.abs(small.astype(np.float64) - numbers)
    return small if (moved <= ROUNDED * least).all() else numbers.astype(np.float32)


def scaling(features: Array) -> tuple[Array, Array]:
    """Return the mean [D] of features [N, D], and the divisor [D] that makes the mean spread 1.

    It goes with the root of each feature's standard deviation (see `probe.fit_probe`).
    """
    mean: Array = features.mean(axis=0, dtype=np.float64)
    spread = features.std(axis=0, dtype=np.float64)
    typical = float(spread.mean()) or 1.0
    root = np.sqrt(np.maximum(spread, SMALLEST_SPREAD * typical))
    after = float((spread / root).mean()) or 1.0
    divisor: Array = root * after
    return mean, divisor
