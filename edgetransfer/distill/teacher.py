"""What a network says of one look at every example."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgetransfer.graph.embed import PREPARED
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.head.linear_heads import in_16_bits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch, Preparer
    from edgetransfer.transfer.train.views import Views

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Look:
    """One look at every example: a number of the views; a text has but one, itself."""

    views: Views
    number: int

    def change(self, batch: Batch, rows: Array) -> Batch:
        """Return the look at a prepared batch that stands at these rows."""
        if PREPARED not in batch:
            return batch
        shown = self.views.show(torch.from_numpy(batch[PREPARED]), self.number, rows)
        return {PREPARED: shown.numpy()}


def ask(
    model: onnx.ModelProto,
    prepare: Preparer,
    examples: Sequence[Example],
    look: Look,
    *,
    progress: Progress = silent,
) -> Array:
    """Return the first output for one look at every example, [N, ...], in order.

    In float16 where that is exact enough (`scaling.in_16_bits`), else in float32.
    """
    rows = run_over(model, prepare, examples, change=look.change, progress=progress)
    return in_16_bits(rows, rows.std(axis=0, dtype=np.float64))
