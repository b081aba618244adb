"""The layers of a network in groups, from the input up, and how fast each learns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from edgetransfer.transfer.classifier import Classifier

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
    section 8): the head of a probe on wide features, and networks whose batch norms were folded,
    hold weights of very different sizes, and one absolute rate threw away in an epoch what they
    had learnt.
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
