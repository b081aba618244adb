"""Runs a frozen graph over more looks at the pictures that a probe is fitted on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch, Preparer

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


def looks_over(
    model: onnx.ModelProto,
    prepare: Preparer,
    examples: Sequence[Example],
    seed: int,
    *,
    progress: Progress = silent,
) -> Array:
    """Return the features of `LOOKS` small shifts and zooms of every picture.

    Shape and order: float32 [LOOKS, N, D]. The looks are those of `views.Views`, so never mirrored.
    """
    import torch

    from edgetransfer.transfer.views import Views

    views = Views(seed, LOOKS)
    found = []
    for view in range(LOOKS):

        def look(batch: Batch, rows: Array, view: int = view) -> Batch:
            return {
                name: views.show(torch.from_numpy(array), view, rows).numpy()
                for name, array in batch.items()
            }

        def told(done: int, total: int | None, view: int = view) -> None:
            of = total or len(examples)
            progress(view * of + done, LOOKS * of)

        found.append(run_over(model, prepare, examples, change=look, progress=told))
    return np.stack(found)
