"""A backbone with a linear head: the network that is fitted, traced and shipped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

    from edgetransfer.backbone.model import LinearHead


class Classifier(nn.Module):
    """Prepared inputs -> logits ``float32 [N, C]``."""

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
