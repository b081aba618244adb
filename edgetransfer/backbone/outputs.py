"""What a transformers network returns, as the one tensor that is wanted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor


class PooledImageEncoder(nn.Module):
    """Pictures ``[N, 3, h, w]`` -> features ``[N, D]``, pooled as the weights were trained."""

    def __init__(self, encoder: nn.Module, *, use_pooler: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.use_pooler = use_pooler

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Take the pooler where it is trained, else the mean over space or the class token."""
        output = self.encoder(pixel_values)
        if self.use_pooler:
            return torch.flatten(output.pooler_output, 1)
        hidden: Tensor = output.last_hidden_state
        return hidden.mean(dim=(2, 3)) if hidden.ndim == 4 else hidden[:, 0]


class PooledTextEncoder(nn.Module):
    """Token ids and mask ``[N, L]`` -> features ``[N, D]``: class token, or mean over tokens."""

    def __init__(self, encoder: nn.Module, *, class_token: bool) -> None:
        super().__init__()
        self.encoder = encoder
        self.class_token = class_token

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Pool the last hidden state."""
        output = self.encoder(input_ids=input_ids, attention_mask=attention_mask)
        hidden: Tensor = output.last_hidden_state
        if self.class_token:
            return hidden[:, 0]
        mask = attention_mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1e-9)


class Logits(nn.Module):
    """A transformers classifier that returns its logits alone.

    Args:
        classifier: the network.
        names: of its inputs. Their order differs: the second of GPT-2 is not the mask.
    """

    def __init__(self, classifier: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.classifier = classifier
        self.names = names

    def forward(self, *inputs: Tensor) -> Tensor:
        """Run the classifier."""
        logits: Tensor = self.classifier(**dict(zip(self.names, inputs, strict=True))).logits
        return logits
