"""Low-rank adapters: attention's query and value projections learn a small update, then hold it."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from edgetransfer.transfer.train.layers import WEIGHT_DECAY, parameter_group, typical_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from edgetransfer.transfer.classifier import Classifier

QUERIES = ("query", "query_proj", "q_proj", "q_lin", "q")
VALUES = ("value", "value_proj", "v_proj", "v_lin", "v")
"""How transformers names them; where query, key and value are one layer, none of these is."""


class LowRank(nn.Module):
    """Adds ``up @ down`` to a weight (Hu et al. 2022, "LoRA", section 4.1).

    `up` starts at zero, so that nothing changes before the first step. `down` is drawn so that the
    product's entries grow as fast as those of `up`, whatever the rank: it holds the paper's scale.

    Args:
        weight: float [O, I], which is added to.
        rank: R, of the update.
        generator: of `down`.
    """

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        drawn = torch.randn(rank, inputs, generator=generator) / math.sqrt(rank)
        self.down = nn.Parameter(drawn.to(weight))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        self.size = typical_size(weight) * math.sqrt(inputs / rank)

    def forward(self, weight: Tensor) -> Tensor:
        """Return the adapted weight, float [O, I]."""
        adapted: Tensor = weight + self.up @ self.down
        return adapted


def projections(network: nn.Module) -> list[nn.Linear]:
    """Return attention's query and value projections from the input up; maybe none."""
    return [
        module
        for name, module in network.named_modules()
        if name.rpartition(".")[2] in (*QUERIES, *VALUES) and isinstance(module, nn.Linear)
    ]


@contextmanager
def adapted(network: Classifier, rank: int, seed: int) -> Iterator[None]:
    """Let adapters and the head alone learn, and merge the adapters into the weights afterwards.

    The network has the same parameters by the same names before and after. With rank 0 nothing is
    done.
    """
    if not rank:
        yield
        return
    layers = projections(network.network)
    generator = torch.Generator().manual_seed(seed)
    learning = [(each, each.requires_grad) for each in network.network.parameters()]
    for parameter, _ in learning:
        parameter.requires_grad_(False)
    for layer in layers:
        adapter = LowRank(layer.weight, rank, generator)
        parametrize.register_parametrization(layer, "weight", adapter)
    try:
        yield
    finally:
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
            bias = layer.bias
            del layer.bias
            layer.register_parameter("bias", bias)  # after the weight, where it stood
        for parameter, learns in learning:
            parameter.requires_grad_(learns)


def adapter_groups(
    network: Classifier, learning_rate: float, decay: float = WEIGHT_DECAY
) -> list[dict[str, Any]]:
    """Return AdamW's groups of an adapted network: its adapters, all as fast, and its head.

    `up` is zero, so its rate cannot be relative to its own size. It is relative to that of the
    weight it is added to, times the root of inputs over rank: where the gradient of a weight is an
    outer product, as that of one token is, a step of Adam then lowers the loss by about as much as
    a step of the whole weight, most of which an update of low rank cannot take.
    """
    groups = []
    for module in network.network.modules():
        if isinstance(module, LowRank):
            groups.append(parameter_group(module.down, learning_rate, decay))
            groups.append(parameter_group(module.up, learning_rate, decay, size=module.size))
    return groups + [
        parameter_group(each, learning_rate, decay) for each in network.head.parameters()
    ]
