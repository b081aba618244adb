"""The network that is fitted, its layers in groups, and low-rank adapters in their place."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

if TYPE_CHECKING:
    from edgetransfer.backbone.model import LinearHead


class Classifier(nn.Module):
    """A backbone with a linear head: prepared inputs -> logits ``float32 [N, C]``."""

    def __init__(self, network: nn.Module, head: LinearHead) -> None:
        super().__init__()
        self.network = network
        classes, features = head.weight.shape
        self.head = nn.Linear(features, classes)
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(head.weight))
            self.head.bias.copy_(torch.from_numpy(head.bias))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the network and its head."""
        logits: Tensor = self.head(self.network(*inputs))
        return logits

    @torch.no_grad()
    def cool(self, temperature: float) -> None:
        """Divide the logits by a temperature, in the head's own weights: decisions stay."""
        self.head.weight.div_(temperature)
        self.head.bias.div_(temperature)


LAYER_GROUPS = 4
LAYER_DECAY = 2.6
"""Each group of layers learns this much slower than the one above it (Howard & Ruder 2018, ULMFiT,
section 3.2)."""
SMALLEST_SIZE = 1e-3
"""Root mean square below which a tensor (a bias of zeros) counts as this large."""
WEIGHT_DECAY = 0.01


def grouped(network: Classifier) -> list[list[nn.Parameter]]:
    """Return the parameters in `LAYER_GROUPS` groups from the input up; the head not among them."""
    layers = list(network.network.parameters())
    groups: list[list[nn.Parameter]] = [[] for _ in range(LAYER_GROUPS)]
    for index, parameter in enumerate(layers):
        groups[index * LAYER_GROUPS // len(layers)].append(parameter)
    return groups


def parameter_groups(
    network: Classifier, learning_rate: float, decay: float = WEIGHT_DECAY
) -> list[dict[str, Any]]:
    """Return AdamW's groups: slower towards the input, no decay of norms and biases.

    A step of Adam moves every weight by about its learning rate, whatever the weight's size. Rates
    are therefore relative to the root mean square of each tensor (Shazeer & Stern 2018, Adafactor,
    section 8), as weights of folded batch norms and of a probe's head are of very different sizes.
    """
    groups = []
    for place, parameters in enumerate(grouped(network)):
        rate = learning_rate / LAYER_DECAY ** (LAYER_GROUPS - 1 - place)
        groups += [parameter_group(each, rate, decay) for each in parameters]
    head = network.head.parameters()
    return groups + [parameter_group(each, learning_rate, decay) for each in head]


def typical_size(tensor: Tensor) -> float:
    """Return the root mean square, or `SMALLEST_SIZE` where that is larger."""
    return max(float(tensor.detach().square().mean().sqrt()), SMALLEST_SIZE)


def parameter_group(
    parameter: nn.Parameter,
    learning_rate: float,
    decay: float = WEIGHT_DECAY,
    *,
    size: float | None = None,
) -> dict[str, Any]:
    """Return the group of one tensor, its rate relative to its size, or to one that is given."""
    return {
        "params": [parameter],
        "lr": learning_rate * (typical_size(parameter) if size is None else size),
        "weight_decay": decay if parameter.ndim > 1 else 0.0,
    }


def set_free(groups: Sequence[Sequence[nn.Parameter]], count: int) -> None:
    """Let only the uppermost groups learn."""
    for place, parameters in enumerate(groups):
        for parameter in parameters:
            parameter.requires_grad_(place >= len(groups) - count)


QUERIES = ("query", "query_proj", "q_proj", "q_lin", "q")
VALUES = ("value", "value_proj", "v_proj", "v_lin", "v")
"""How transformers names them; where query, key and value are one layer, none of these is."""


class LowRank(nn.Module):
    """Adds ``up @ down`` to a weight (Hu et al. 2022, "LoRA", section 4.1).

    `up` starts at zero, so that nothing changes before the first step. `down` is drawn so that the
    product's entries grow as fast as those of `up`, whatever the rank: it holds the paper's scale.
    The weight is float [O, I], the rank R; the generator draws `down`.
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
