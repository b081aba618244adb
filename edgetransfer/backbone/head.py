"""A linear classifier as plain arrays: what a pretrained network came with, or what was fitted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LinearHead:
    """``logits = features @ weight.T + bias``; weight ``float32 [C, D]``, bias ``float32 [C]``."""

    weight: Array
    bias: Array

    def logits(self, features: Array) -> Array:
        """Apply the head to features [N, D]; returns float32 [N, C]."""
        product: Array = features @ self.weight.T + self.bias
        return product.astype(np.float32)


def linear_head(layer: nn.Linear) -> LinearHead:
    """Return what a layer of torch computes."""
    weight = layer.weight.detach().float().cpu().numpy()
    bias = np.zeros(len(weight), np.float32)
    if layer.bias is not None:
        bias = layer.bias.detach().float().cpu().numpy()
    return LinearHead(weight, bias)
