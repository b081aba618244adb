"""Runs a frozen graph over augmented views of the pictures that a probe is fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.graph.embed import PREPARED
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.train.augmentation import Views

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch, Preparer

Array = np.ndarray[Any, Any]
FEW = 20
"""Examples a stratum, on average, up to which the probe is fitted on several looks at each."""
LOOKS = 6
"""Looks beside the picture itself. In 5-way episodes over seven pairs of data and backbone they
gave 0.2 to 2.3 points at one example a class and -0.1 to 4.7 at ten (`docs/few-labels.md`)."""


def worth_more_looks(modality: str, examples: int, strata: int) -> bool:
    """Tell whether the probe gains by more looks at its examples: few of them, and pictures.

    >>> worth_more_looks("image", 40, 2), worth_more_looks("image", 42, 2)
    (True, False)
    """
    return modality == "image" and examples <= FEW * strata


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
