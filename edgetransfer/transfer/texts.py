"""Texts as token ids for training: no batch is wider than its longest text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgetransfer.transfer.train.lesson import PreparedExamples

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

Array = np.ndarray[Any, Any]
MULTIPLE = 8
"""Widths are rounded up to it: matrix products are prepared anew for every shape that is met."""
GROUP = 32
"""Texts of like length that run at once."""


@dataclass(frozen=True)
class Texts(PreparedExamples):
    """Padded token ids, which batches are cut from.

    Attributes:
        lengths: int [N], tokens of every text; what lies beyond in `inputs` is padding.
    """

    lengths: Array = field(kw_only=True)

    @staticmethod
    def of(inputs: Mapping[str, Array], labels: Array) -> Texts:
        """Take inputs int64 [N, L] by name, padded at the end, with their mask.

        >>> mask = np.array([[1, 1, 0], [1, 0, 0]])
        >>> Texts.of({"input_ids": mask * 7, "attention_mask": mask}, np.arange(2)).lengths
        array([2, 1])
        """
        lengths = inputs["attention_mask"].sum(axis=1)
        return Texts(list(inputs.values()), labels, lengths=lengths)

    def take(self, rows: Array) -> Texts:
        """Return some of them."""
        inputs = [array[rows] for array in self.inputs]
        lengths = self.lengths[rows]
        return Texts(inputs, self.labels[rows], self.standing(rows), lengths=lengths)

    def batch(self, rows: Array) -> tuple[list[Tensor], Tensor]:
        """Return copies of some rows as tensors, as wide as the longest of them."""
        longest = -(-int(self.lengths[rows].max()) // MULTIPLE) * MULTIPLE
        inputs = [np.ascontiguousarray(array[rows, :longest]) for array in self.inputs]
        return [torch.from_numpy(each) for each in inputs], torch.from_numpy(self.labels[rows])


def run_in_groups(network: nn.Module, texts: Texts, rows: Array) -> Tensor:
    """Return what a network makes of some texts, [B, D] in the order of `rows`.

    They run in groups of like length: of 128 questions to a bank the longest is four times as long
    as the mean, and one batch of them would be three quarters padding. The result lies where the
    network does.
    """
    where = next((each.device for each in network.parameters()), torch.device("cpu"))
    order = np.argsort(texts.lengths[rows], kind="stable")
    made = [
        network(*(each.to(where) for each in texts.batch(rows[order[start : start + GROUP]])[0]))
        for start in range(0, len(order), GROUP)
    ]
    return torch.cat(made)[torch.from_numpy(np.argsort(order)).to(where)]
