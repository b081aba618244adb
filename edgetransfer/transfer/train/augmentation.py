"""Augmented views of a picture: small shifts and zooms that depend on nothing but three numbers.

They are no stream of random numbers: whoever asks for the same view of the same example, another
network or a later run, sees the same. No mirroring: letters, digits and spectrograms do not
survive it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Array = np.ndarray[Any, Any]
MAX_SHIFT, MAX_ZOOM = 0.06, 0.12
"""Largest shift as a share of the picture, and largest zoom."""


@dataclass(frozen=True)
class Views:
    """A bounded number of looks at every example.

    A teacher and its student have to see the same look (Beyer et al. 2022, "Knowledge
    distillation: A good teacher is patient and consistent", section 3.1); as shifts and zooms are
    shares of the picture, they are the same for networks of different input sizes. The bound
    makes what a teacher says of them something that can be kept.

    Attributes:
        seed: of all looks.
        count: epochs beyond it see the first ones again.
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
