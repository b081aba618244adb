"""Runs a whole graph node by node, so that what flows between the nodes can be seen or changed.

It does not know quantisation; what is done to a tensor is the caller's function.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.compress import operators
from edgetransfer.compress.layout import array_of, name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import onnx_ir as ir
    from torch import Tensor

Visit = "Callable[[str, Tensor], Tensor]"


def constants_of(graph: ir.Graph) -> dict[str, Tensor]:
    """Return the initializers of a graph as tensors."""
    return {
        name_of(value): torch.from_numpy(np.array(array_of(value)))
        for value in graph.initializers.values()
    }


def last_uses(nodes: Iterable[ir.Node]) -> dict[str, int]:
    """Return for every tensor the place of the last node that takes it."""
    return {
        name_of(value): place
        for place, node in enumerate(nodes)
        for value in node.inputs
        if value is not None
    }


class Execution:
    """A graph ready to run on torch tensors, of any batch size.

    Args:
        graph: in the order it runs.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.constants = constants_of(graph)
        self._nodes = list(graph)
        self._last = last_uses(self._nodes)
        self._inputs = [name_of(each) for each in graph.inputs]
        self._outputs = [name_of(each) for each in graph.outputs]

    def run(
        self,
        feeds: Mapping[str, Tensor],
        visit: Callable[[str, Tensor], Tensor] = lambda _, tensor: tensor,
        constants: Mapping[str, Tensor] | None = None,
    ) -> list[Tensor]:
        """Return the outputs.

        Args:
            feeds: inputs by name.
            visit: is given every tensor as it comes to be, and returns what takes its place.
            constants: take the place of the graph's own, by name.
        """
        known = {**self.constants, **(constants or {})}
        flowing = {name: visit(name, feeds[name]) for name in self._inputs}
        for place, node in enumerate(self._nodes):
            taken = [
                None if each is None else flowing.get(name_of(each), known.get(name_of(each)))
                for each in node.inputs
            ]
            for value, tensor in zip(node.outputs, operators.apply(node, taken), strict=True):
                flowing[name_of(value)] = visit(name_of(value), tensor)
            for each in node.inputs:
                if each is not None and self._last[name_of(each)] == place:
                    self._forget(flowing, name_of(each))
        return [flowing[name] for name in self._outputs]

    def _forget(self, flowing: dict[str, Tensor], name: str) -> None:
        if name not in self._outputs:
            flowing.pop(name, None)
