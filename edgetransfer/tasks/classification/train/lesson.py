"""What a network is fine-tuned on, towards and by: examples, texts, losses, the schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from edgetransfer.transfer.looks import Views

Array = np.ndarray[Any, Any]
MULTIPLE = 8
"""Widths are rounded up to it: matrix products are prepared anew for every shape that is met."""
GROUP = 32
"""Texts of like length that run at once."""
WARM_UP = 0.1
PATIENCE = 6
"""Epochs without a better one after which training ends, or half of a long schedule: as the rate
falls like a cosine, its best epochs come late."""
MAX_VIEWS = 16
"""Looks at every picture; with more epochs they come again."""


@dataclass(frozen=True)
class Technique:
    """What holds training back from learning few examples by heart; all off at 0.

    Attributes:
        smoothing: share of a label that is spread over all classes (Szegedy et al. 2016, section
            7).
        averaging: share of the old in a running mean of the weights, which is what is judged and
            kept (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).
        l2_sp: strength of the pull towards the pretrained weights in place of that towards zero
            (Li et al. 2018, "Explicit inductive bias for transfer learning", L2-SP; decoupled
            from Adam as weight decay is).
        balanced: draws examples so that every class comes as often.
        gradual: sets free one more group of layers an epoch, from the head down (Howard & Ruder
            2018, ULMFiT, section 3.3).
        rank: of the adapters that learn in place of the layers (`adapted`; Hu et al. 2022, LoRA);
            0 where the layers themselves do.
    """

    smoothing: float = 0.0
    averaging: float = 0.0
    l2_sp: float = 0.0
    balanced: bool = False
    gradual: bool = False
    rank: int = 0


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and by which technique.

    The rate rises and falls over `epochs`; training ends after `stop` all the same where that is
    given, as others have shown it to be best.
    """

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int
    technique: Technique = Technique()
    stop: int | None = None

    @property
    def patience(self) -> int:
        """Epochs without a better one after which training ends."""
        return max(PATIENCE, self.epochs // 2)

    @property
    def views(self) -> Views:
        """The looks at pictures that the epochs go through."""
        return Views(self.seed, min(self.epochs, MAX_VIEWS))

    def steps_of(self, examples: int) -> int:
        """Return the steps of one epoch over some examples.

        >>> Schedule(2, 0.1, 32, 0).steps_of(33)
        2
        """
        return math.ceil(examples / self.batch_size)


def warm_cosine(total: int) -> Callable[[int], float]:
    """Rise linearly, then fall as half a cosine (Loshchilov & Hutter 2017, SGDR).

    >>> [round(warm_cosine(20)(step), 2) for step in (0, 1, 2, 11, 20)]
    [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    warm = max(1, round(WARM_UP * total))

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    return share


UNLABELLED = -1
"""Stands for the label of an example that has none."""


@dataclass(frozen=True)
class Seen:
    """What the network in training made of one batch of B examples.

    Features float32 [B, D] before the head, logits float32 [B, C], labels int64 [B] (`UNLABELLED`
    where there is none), rows int [B]: where the examples stand among all (`PreparedExamples`);
    `view` is the number of the look at them (`Views`).
    """

    features: Tensor
    logits: Tensor
    labels: Tensor
    rows: Array
    view: int


class Objective(Protocol):
    """A loss, with parameters of its own or without: those are trained along and thrown away."""

    def __call__(self, seen: Seen) -> Tensor:
        """Return the loss of a batch, a scalar."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return what is trained along with the network."""


class CrossEntropy(nn.Module):
    """Towards the labels; examples without one do not count, and `smoothing` is as in `Technique`.

    >>> import torch
    >>> said = torch.tensor([[2.0, 0.0], [0.0, 9.0]])
    >>> seen = Seen(said, said, torch.tensor([0, UNLABELLED]), np.arange(2), 0)
    >>> round(float(CrossEntropy()(seen)), 4)  # -log(e^2 / (e^2 + 1)), over two examples
    0.0635
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self._total = nn.CrossEntropyLoss(
            ignore_index=UNLABELLED, reduction="sum", label_smoothing=smoothing
        )

    def forward(self, seen: Seen) -> Tensor:
        """Return the mean over the batch, in nats; an example without a label adds nothing."""
        total: Tensor = self._total(seen.logits, seen.labels)
        return total / len(seen.labels)


@dataclass(frozen=True)
class PreparedExamples:
    """Prepared examples: an array [N, ...] or memory map for each input of the network, in order.

    Labels are int64 [N], `UNLABELLED` where there is none; places int [N] say where they stand
    among all examples, which looks and objectives know them by, and are None where these are all.
    """

    inputs: Sequence[Array]
    labels: Array
    places: Array | None = None

    def standing(self, rows: Array) -> Array:
        """Return where some rows stand among all examples."""
        return rows if self.places is None else np.asarray(self.places[rows])

    def batch(self, rows: Array) -> tuple[list[Tensor], Tensor]:
        """Return copies of some rows as tensors."""
        inputs = [torch.from_numpy(np.ascontiguousarray(array[rows])) for array in self.inputs]
        return inputs, torch.from_numpy(self.labels[rows])

    def take(self, rows: Array) -> PreparedExamples:
        """Return some of them, in memory."""
        inputs = [np.asarray(array[rows]) for array in self.inputs]
        return PreparedExamples(inputs, self.labels[rows], self.standing(rows))


@dataclass(frozen=True)
class Texts(PreparedExamples):
    """Padded token ids, from which batches are cut that are as wide as their longest text.

    `lengths` int [N] are the tokens of every text; what lies beyond in `inputs` is padding.
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


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt, and what says how well it was.

    With no validation examples nothing is judged, and all epochs are trained.
    """

    train: PreparedExamples
    validation: PreparedExamples
    objective: Objective = field(default_factory=CrossEntropy)
    metric: str = "top1"


def batches(labels: Array, schedule: Schedule, generator: torch.Generator) -> Iterator[Array]:
    """Yield the rows of one epoch: each example once, or each class as often as another."""
    count = len(labels)
    if schedule.technique.balanced:
        drawn = torch.multinomial(_evened(labels), count, replacement=True, generator=generator)
        order = drawn.numpy()
    else:
        order = torch.randperm(count, generator=generator).numpy()
    for start in range(0, count, schedule.batch_size):
        yield order[start : start + schedule.batch_size]


def _evened(labels: Array) -> Tensor:
    """Return how likely each example is drawn: one over its class's size, 1 without a label."""
    weights, labelled = np.ones(len(labels)), labels != UNLABELLED
    if labelled.any():
        own = 1 / np.bincount(labels[labelled])[labels[labelled]]
        weights[labelled] = own / own.mean()
    return torch.from_numpy(weights)
