"""Feeds compression with prepared examples, a batch at a time, so that memory stays flat."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.graph.prepare import Preparer, batched, preparer

if TYPE_CHECKING:
    from torch import Tensor

    from edgetransfer.data.manifest import Example
    from edgetransfer.pipeline.graphs import FittedGraph

BATCH = 8
TRAINING_BATCH = 16


def batches_of(
    fitted: FittedGraph, examples: Sequence[Example]
) -> Callable[[], Iterator[dict[str, Tensor]]]:
    """Return what makes all batches of some examples, in order."""
    return batches_through(preparer(fitted.preprocessing, fitted.tokenizer), examples)


def batches_through(
    prepare: Preparer, examples: Sequence[Example]
) -> Callable[[], Iterator[dict[str, Tensor]]]:
    """Return what makes all batches of some examples by a contract, in order."""

    def make() -> Iterator[dict[str, Tensor]]:
        for batch in batched(prepare, examples, BATCH):
            yield {name: torch.from_numpy(array) for name, array in batch.items()}

    return make


def shuffled(
    fitted: FittedGraph, examples: Sequence[Example], seed: int
) -> Callable[[], Iterator[dict[str, Tensor]]]:
    """Return what makes an endless stream of training batches, the same at every call."""
    prepare = preparer(fitted.preprocessing, fitted.tokenizer)

    def order() -> Iterator[Example]:
        rng = np.random.default_rng(seed)
        while True:
            for place in rng.permutation(len(examples)):
                yield examples[place]

    def make() -> Iterator[dict[str, Tensor]]:
        for batch in batched(prepare, order(), TRAINING_BATCH):
            yield {name: torch.from_numpy(array) for name, array in batch.items()}

    return make
