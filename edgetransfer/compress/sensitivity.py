"""Measures how much noise each layer's integers bring to the logits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgetransfer.compress.execution import Execution
from edgetransfer.compress.training import FakeQuantised, FreeWeights
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from edgetransfer.compress.posttraining import QuantisedGraph


def rank_layers(
    quantised: QuantisedGraph, batches: Iterable[dict[str, Tensor]], progress: Progress = silent
) -> list[tuple[str, float]]:
    """Return the layers by what leaving each alone in float would take away of the noise.

    Args:
        quantised: the network.
        batches: a few prepared examples; they are held in memory.
        progress: told of layers done.

    Returns:
        (name of the weights, share of the logits' noise energy that would go), largest first;
        below zero where the noise would grow.
    """
    feeds = list(batches)
    teacher = Execution(quantised.model.graph)
    with torch.no_grad():
        wanted = [teacher.run(each)[0] for each in feeds]
        before = _noise(quantised, feeds, wanted)
        gains = []
        layers = quantised.layout.layers
        for done, layer in enumerate(layers, start=1):
            without = quantised.keeping_float({layer.name})
            gains.append((layer.name, 1 - _noise(without, feeds, wanted) / max(before, 1e-30)))
            progress(done, len(layers))
    return sorted(gains, key=lambda each: -each[1])


def _noise(
    quantised: QuantisedGraph, feeds: list[dict[str, Tensor]], wanted: list[Tensor]
) -> float:
    network = FakeQuantised(
        quantised.model.graph, quantised.layout, quantised.encoding, FreeWeights
    )
    total = 0.0
    for each, target in zip(feeds, wanted, strict=True):
        error = network(each) - target
        total += float((error - error.mean(dim=1, keepdim=True)).square().sum())
    return total
