"""Feeds compression with prepared examples, a batch at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.graph.prepare import Preparer, batched

if TYPE_CHECKING:
    from torch import Tensor

    from edgetransfer.data.manifest import Example

BATCH = 8
TRAINING_BATCH = 16
Batches = Callable[[], Iterator[dict[str, "Tensor"]]]


def batches_through(prepare: Preparer, examples: Sequence[Example]) -> Batches:
    """Return what makes all batches of some examples, in order."""
    return lambda: _tensors(prepare, examples, BATCH)


def shuffled(prepare: Preparer, examples: Sequence[Example], seed: int) -> Batches:
    """Return what makes an endless stream of training batches, the same at every call."""

    def order() -> Iterator[Example]:
        rng = np.random.default_rng(seed)
        while True:
            for place in rng.permutation(len(examples)):
                yield examples[place]

    return lambda: _tensors(prepare, order(), TRAINING_BATCH)


def _tensors(
    prepare: Preparer, examples: Iterable[Example], size: int
) -> Iterator[dict[str, Tensor]]:
    for batch in batched(prepare, examples, size):
        yield {name: torch.from_numpy(array) for name, array in batch.items()}
