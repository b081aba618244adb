"""Times a model that does nothing: what the runtime and the clock cost at least.

It does not say how far above that a time must lie: the host does.
"""

from __future__ import annotations

import base64
from typing import Any, Callable, Mapping

import numpy as np

from edgetransfer.agent.timing import REAL_CLOCK, Clock, timed

NULL_MODEL = base64.b64decode(
    "CAgSADo/ChAKAXgSAXkiCElkZW50aXR5EgFuWhMKAXgSDgoMCAESCAoCCAEKAggBYhMKAXkSDgoMCAESCAoCCAEKAggBQgQKABAN"
)
"""``y = Identity(x)``, x float32 [1, 1], opset 13, IR 8."""
_CALLS = 500
_WARM = 50


def floor_ns(
    run: Callable[[Mapping[str, np.ndarray[Any, Any]]], object],
    clock: Clock = REAL_CLOCK,
) -> float:
    """Return the median wall time of one call of the null model."""
    example = {"x": np.zeros((1, 1), np.float32)}
    for _ in range(_WARM):
        run(example)
    return float(np.median([timed(lambda: run(example), clock)[0] for _ in range(_CALLS)]))
