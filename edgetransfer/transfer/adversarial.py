"""Word vectors moved the way that hurts most: what a text encoder is also trained on.

It does not train, and changes no weights.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator


def tables(network: nn.Module) -> list[nn.Embedding]:
    """Return the tables of embeddings: of words, positions, segments."""
    return [each for each in network.modules() if isinstance(each, nn.Embedding)]


class WorstWords:
    """Catches the word vectors of one pass, and moves those of the next.

    The fast gradient method for texts (Miyato, Dai, Goodfellow 2017, "Adversarial training methods
    for semi-supervised text classification", equation 5): all vectors of a text together move along
    the gradient of its loss, by a length that is a multiple of the mean length of a word vector.
    Vectors here are as they were pretrained, not normalised, hence the multiple.

    Args:
        network: the table with the most rows is that of its words; without a table nothing moves.
        size: the multiple.
    """

    def __init__(self, network: nn.Module, size: float) -> None:
        self._table = max(tables(network), key=lambda each: each.num_embeddings, default=None)
        self._size = size
        self._seen: list[Tensor] = []

    @property
    def moves(self) -> bool:
        """Whether a second pass differs from the first."""
        return self._table is not None and self._size > 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Catch the word vectors of a pass, so that its loss has a gradient by them.

        The table itself gets none.
        """

        def watch(_: nn.Module, __: tuple[Any, ...], vectors: Tensor) -> Tensor:
            self._seen.append(vectors.detach().requires_grad_())
            return self._seen[-1]

        self._seen.clear()
        with self._hooked(watch):
            yield

    @contextmanager
    def moved(self) -> Iterator[None]:
        """Move the word vectors of a pass over the same texts in the same order."""
        steps = iter([self._step(vectors) for vectors in self._seen])

        def move(_: nn.Module, __: tuple[Any, ...], vectors: Tensor) -> Tensor:
            return vectors.detach() + next(steps)

        with self._hooked(move):
            yield

    def _step(self, vectors: Tensor) -> Tensor:
        """Return what is added to vectors [N, L, D] that were caught."""
        slope = vectors.grad
        assert slope is not None  # the loss of the watched pass was taken back
        steepness = slope.flatten(1).norm(dim=1).clamp(min=1e-12)
        length = self._size * vectors.detach().norm(dim=2).mean()
        step: Tensor = slope * (length / steepness)[:, None, None]
        return step

    @contextmanager
    def _hooked(self, hook: Any) -> Iterator[None]:  # noqa: ANN401 (torch's type of hooks)
        if self._table is None:
            yield
            return
        handle = self._table.register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()
