"""Augmented views of pictures, and a frozen graph run over them.

They are small shifts and zooms that depend on nothing but three numbers: whoever asks for the same
view of the same example, another network or a later run, sees the same. No mirroring: letters,
digits and spectrograms do not survive it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgetransfer.graph.embed import PREPARED
from edgetransfer.spec.progress import Progress, part_of, silent
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch, Preparer

Array = np.ndarray[Any, Any]
MAX_SHIFT, MAX_ZOOM = 0.06, 0.12
"""Largest shift as a share of the picture, and largest zoom."""


@dataclass(frozen=True)
class Views:
    """A bounded number of looks at every example, which can be kept; later epochs see them again.

    A teacher and its student have to see the same look (Beyer et al. 2022, "Knowledge
    distillation: A good teacher is patient and consistent", section 3.1); as shifts and zooms are
    shares of the picture, they are the same for networks of different input sizes.
    """

    seed: int
    count: int

    def of_epoch(self, epoch: int) -> int:
        """Return the look of an epoch, which are counted from 1.

        >>> [Views(seed=0, count=3).of_epoch(epoch) for epoch in (1, 2, 3, 4)]
        [0, 1, 2, 0]
        """
        return (epoch - 1) % self.count

    def theta(self, view: int, rows: Array) -> Tensor:
        """Return the affine maps of one look, float32 [N, 2, 3], for examples by their rows."""
        draws = np.stack([np.random.default_rng([self.seed, view, int(r)]).random(3) for r in rows])
        centred = torch.from_numpy(draws.astype(np.float32)) * 2 - 1
        theta = torch.zeros(len(rows), 2, 3)
        theta[:, 0, 0] = theta[:, 1, 1] = 1 + MAX_ZOOM * centred[:, 0]
        theta[:, :, 2] = 2 * MAX_SHIFT * centred[:, 1:]
        return theta

    def show(self, pictures: Tensor, view: int, rows: Array) -> Tensor:
        """Return one look at prepared pictures float32 [N, 3, h, w] that stand at these rows."""
        shape = list(pictures.shape)
        grid = nn.functional.affine_grid(self.theta(view, rows), shape, align_corners=False)
        return nn.functional.grid_sample(
            pictures, grid, padding_mode="reflection", align_corners=False
        )

    def look(self, view: int, batch: Batch, rows: Array) -> Batch:
        """Return one look at a prepared batch that stands at these rows; a text has but itself."""
        if PREPARED not in batch:
            return batch
        return {PREPARED: self.show(torch.from_numpy(batch[PREPARED]), view, rows).numpy()}


FEW = 20
"""Examples a stratum, on average, up to which the probe is fitted on several looks at each."""
LOOKS = 6
"""Looks beside the picture itself. In 5-way episodes over seven pairs of data and backbone they
gave 0.2 to 2.3 points at one example a class and -0.1 to 4.7 at ten (`docs/few-labels.md`)."""


def looks_over(
    model: onnx.ModelProto,
    prepare: Preparer,
    examples: Sequence[Example],
    seed: int,
    *,
    progress: Progress = silent,
) -> Array:
    """Return the features of `LOOKS` looks at every picture, float32 [LOOKS, N, D], see `Views`."""
    views, count, found = Views(seed, LOOKS), len(examples), []
    for view in range(LOOKS):
        look, told = partial(views.look, view), part_of(progress, view * count, LOOKS * count)
        found.append(run_over(model, prepare, examples, change=look, progress=told))
    return np.stack(found)
