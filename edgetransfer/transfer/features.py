"""Runs a frozen graph over examples: features for the probe, logits of a fitted model.

The network does not run in torch: per thread ONNX Runtime runs MobileNetV2 five times faster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.graph.embed import PREPARED
from edgetransfer.graph.hosted import open_here
from edgetransfer.graph.prepare import batched
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch, Preparer
    from edgetransfer.transfer.train.augmentation import Views

Array = np.ndarray[Any, Any]
FEW = 20
"""Examples a class, on average, up to which the probe is fitted on several looks at each."""
LOOKS = 6
"""Looks beside the picture itself. In 5-way episodes over seven pairs of data and backbone they
gave 0.2 to 2.3 points at one example a class and -0.1 to 4.7 at ten (`docs/few-labels.md`)."""


def worth_more_looks(modality: str, examples: int, classes: int) -> bool:
    """Tell whether the probe gains by more looks at its examples: few of them, and pictures.

    >>> worth_more_looks("image", 40, 2), worth_more_looks("image", 42, 2)
    (True, False)
    """
    return modality == "image" and examples <= FEW * classes


@dataclass(frozen=True)
class Look:
    """One look at every example: a number of the views; a text has but one, itself."""

    views: Views
    number: int

    def change(self, batch: Batch, rows: Array) -> Batch:
        """Return the look at a prepared batch that stands at these rows."""
        import torch

        if PREPARED not in batch:
            return batch
        shown = self.views.show(torch.from_numpy(batch[PREPARED]), self.number, rows)
        return {PREPARED: shown.numpy()}


def looks_over(
    model: onnx.ModelProto,
    prepare: Preparer,
    examples: Sequence[Example],
    seed: int,
    *,
    progress: Progress = silent,
) -> Array:
    """Return the features of `LOOKS` looks at every picture, float32 [LOOKS, N, D], see `Views`."""
    from edgetransfer.transfer.train.augmentation import Views

    views = Views(seed, LOOKS)
    found = []
    for view in range(LOOKS):

        def told(done: int, total: int | None, view: int = view) -> None:
            of = total or len(examples)
            progress(view * of + done, LOOKS * of)

        found.append(
            run_over(model, prepare, examples, change=Look(views, view).change, progress=told)
        )
    return np.stack(found)


BATCH = 8


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

    `change` is given every prepared batch and the rows of its examples, int [B], and returns what
    the graph gets instead; `batch_size` is 1 where a graph's scales come from all of a batch.
    """
    session = open_here(model)
    found = []
    for start, batch in enumerate(batched(prepare, examples, batch_size)):
        rows = np.arange(len(examples))[start * batch_size :][:batch_size]
        found.append(session.run(batch if change is None else change(batch, rows))[0])
        progress(int(rows[-1]) + 1, len(examples))
    return np.concatenate(found)
