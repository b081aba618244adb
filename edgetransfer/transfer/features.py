"""Runs a frozen graph over examples: features for the probe, logits of a fitted model.

It does not use torch: per thread ONNX Runtime runs MobileNetV2 five times faster.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.agent.session import OnnxSession
from edgetransfer.graph.prepare import ahead
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Preparer

BATCH = 8


def run_over(
    model: onnx.ModelProto,
    prepare: Preparer,
    examples: Sequence[Example],
    *,
    progress: Progress = silent,
) -> np.ndarray[Any, Any]:
    """Return the first output for every example, float32 [N, ...], in order."""
    session = OnnxSession(model.SerializeToString())
    rows = []
    done = 0
    prepared = ahead(prepare.prepare, examples)
    while group := list(islice(prepared, BATCH)):
        rows.append(session.run(prepare.join(group))[0])
        done += len(group)
        progress(done, len(examples))
    return np.concatenate(rows)
