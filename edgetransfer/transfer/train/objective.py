"""What a network is trained towards: a loss of what it says of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

Array = np.ndarray[Any, Any]
UNLABELLED = -1
"""Stands for the label of an example that has none."""


@dataclass(frozen=True)
class Seen:
    """What the network in training made of one batch of B examples.

    Attributes:
        features: float32 [B, D], before the head.
        logits: float32 [B, C].
        labels: int64 [B], `UNLABELLED` where there is none.
        rows: int [B], where the examples stand among all, see `lesson.Examples`.
        view: the number of the look at them, see `views.Views`.
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    rows: Array
    view: int


class Objective(Protocol):
    """A loss, with parameters of its own or without: those are trained along and thrown away."""

    def __call__(self, seen: Seen) -> Tensor:
        """Return the loss of a batch, a scalar."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return what is trained along with the network."""


class CrossEntropy(nn.Module):
    """Towards the labels; examples without one do not count.

    >>> import torch
    >>> said = torch.tensor([[2.0, 0.0], [0.0, 9.0]])
    >>> seen = Seen(said, said, torch.tensor([0, UNLABELLED]), np.arange(2), 0)
    >>> round(float(CrossEntropy()(seen)), 4)  # -log(e^2 / (e^2 + 1)), over two examples
    0.0635

    Args:
        smoothing: share of a label that is spread over all classes.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self._smoothing = smoothing

    def forward(self, seen: Seen) -> Tensor:
        """Return the mean over the batch, in nats; an example without a label adds nothing."""
        total: Tensor = nn.functional.cross_entropy(
            seen.logits,
            seen.labels,
            ignore_index=UNLABELLED,
            reduction="sum",
            label_smoothing=self._smoothing,
        )
        return total / len(seen.labels)
