"""The centre and the divisor of features that linear heads are fitted on: Pareto scaling.

It does not fit a head, and loads numpy only: what judges a bundle reads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

SMALLEST_SPREAD = 0.01
"""Share of the mean standard deviation below which a feature counts as constant."""


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
