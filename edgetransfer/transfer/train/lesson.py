"""What is learnt from: prepared examples, and the order in which they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgetransfer.transfer.train.objective import UNLABELLED, CrossEntropy, Objective

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from edgetransfer.spec.words import Metric
    from edgetransfer.transfer.train.schedule import Schedule

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class PreparedExamples:
    """Prepared examples; `inputs` may be memory maps.

    Attributes:
        inputs: one array [N, ...] for each input of the network, in order.
        labels: int64 [N], `objective.UNLABELLED` where there is none.
        places: int [N], where they stand among all examples, which is what looks and objectives
            know them by; None where these are all.
    """

    inputs: Sequence[Array]
    labels: Array
    places: Array | None = None

    def standing(self, rows: Array) -> Array:
        """Return where some rows stand among all examples."""
        return rows if self.places is None else np.asarray(self.places[rows])

    def batch(self, rows: Array) -> tuple[list[Tensor], Tensor]:
        """Return copies of some rows as tensors."""
        inputs = [torch.from_numpy(np.ascontiguousarray(array[rows])) for array in self.inputs]
        return inputs, torch.from_numpy(self.labels[rows])

    def take(self, rows: Array) -> PreparedExamples:
        """Return some of them, in memory."""
        inputs = [np.asarray(array[rows]) for array in self.inputs]
        return PreparedExamples(inputs, self.labels[rows], self.standing(rows))


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt, and what says how well it was.

    Attributes:
        validation: none where nothing is to be judged: all epochs are trained then.
        metric: by which validation judges.
    """

    train: PreparedExamples
    validation: PreparedExamples
    objective: Objective = field(default_factory=CrossEntropy)
    metric: Metric = "top1"


def batches(labels: Array, schedule: Schedule, generator: torch.Generator) -> Iterator[Array]:
    """Yield the rows of one epoch: each example once, or each class as often as another."""
    count = len(labels)
    if schedule.technique.balanced:
        drawn = torch.multinomial(_evened(labels), count, replacement=True, generator=generator)
        order = drawn.numpy()
    else:
        order = torch.randperm(count, generator=generator).numpy()
    for start in range(0, count, schedule.batch_size):
        yield order[start : start + schedule.batch_size]


def _evened(labels: Array) -> Tensor:
    """Return how likely each example is drawn: one over its class's size, 1 without a label."""
    known = labels[labels != UNLABELLED]
    sizes = np.bincount(known) if len(known) else np.ones(1, dtype=np.int64)
    weights = np.where(labels == UNLABELLED, 1.0, 1.0 / np.maximum(sizes[labels], 1))
    labelled = labels != UNLABELLED
    if labelled.any():
        weights[labelled] /= weights[labelled].mean()
    return torch.from_numpy(weights)
