"""Runs a frozen graph over examples: features for the probe, logits of a fitted model.

The network does not run in torch: per thread ONNX Runtime runs MobileNetV2 five times faster.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import ahead
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch, Preparer

BATCH = 8
Array = np.ndarray[Any, Any]


def run_over(
    model: onnx.ModelProto,
    prepare: Preparer,
    examples: Sequence[Example],
    *,
    change: Callable[[Batch, Array], Batch] | None = None,
    batch_size: int = BATCH,
    progress: Progress = silent,
) -> Array:
    """Return the first output for every example, float32 [N, ...], in order.

    Args:
        model: the graph.
        prepare: makes its inputs.
        examples: what to run over.
        change: is given every prepared batch and the rows of its examples, int [B], and returns
            what the graph gets instead.
        batch_size: examples at once; 1 where a graph's scales come from all of a batch.
        progress: told of examples done.
    """
    session = open_here(model)
    rows = []
    done = 0
    prepared = ahead(prepare.prepare, examples)
    while group := list(islice(prepared, batch_size)):
        batch = prepare.join(group)
        if change is not None:
            batch = change(batch, np.arange(done, done + len(group)))
        rows.append(session.run(batch)[0])
        done += len(group)
        progress(done, len(examples))
    return np.concatenate(rows)
