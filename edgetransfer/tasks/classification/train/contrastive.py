"""Contrastive fine-tuning of a text encoder, with word vectors moved the way that hurts most."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.train.lesson import Texts, run_in_groups, warm_cosine
from edgetransfer.transfer.machine_settings import Machine, forward, threads


def tables(network: nn.Module) -> list[nn.Embedding]:
    """Return the tables of embeddings: of words, positions, segments."""
    return [each for each in network.modules() if isinstance(each, nn.Embedding)]


class WorstWords:
    """Catches the word vectors of one pass, and moves those of the next.

    The fast gradient method for texts (Miyato, Dai, Goodfellow 2017, "Adversarial training methods
    for semi-supervised text classification", equation 5): all vectors of a text together move along
    the gradient of its loss, by a length that is a multiple of the mean length of a word vector.
    Vectors here are as they were pretrained, not normalised, hence the multiple. `size` is that
    multiple. The network's table with the most rows is that of its words; without a table nothing
    moves.
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

    def _hooked(self, hook: Any) -> AbstractContextManager[object]:  # noqa: ANN401 (torch's type)
        return nullcontext() if self._table is None else self._table.register_forward_hook(hook)


Array = np.ndarray[Any, Any]
APART = -1e9
"""Stands for minus infinity where a text meets itself; its product with nought is nought."""
QUICKER = 10
"""Times the encoder's learning rate at which the classes' directions learn."""
FEW = 100
"""Labels a class, on average, up to which every part of `ContrastiveSchedule` is taken. Up to there
they were tried (`docs/text.md`)."""


@dataclass(frozen=True)
class ContrastiveSchedule:
    """How far the encoder is moved.

    Attributes:
        epochs: passes over the texts.
        learning_rate: of AdamW, at its highest.
        temperature: cosines are divided by it; the smaller, the more the nearest wrong texts count.
        together: texts of one class that are drawn into a batch together.
        batch_size: texts in a batch.
        share: how far along the way from the old weights to the new ones it ends.
        telling: weight of the loss of telling classes apart by one direction each.
        adversarial: how far word vectors are moved in a second pass, see `WorstWords`; 0 leaves it
            out, and halves the time.
        strength: share of the frozen encoder's C with which a head is fitted on features of the
            moved one. These know their texts' labels, so that they lie further apart than those of
            new texts do, and nothing can be cross-validated on them.
        names: whether names of classes are tried as further texts, see `texts.worth`.
        seed: of batches and dropout.
    """

    epochs: int = 6
    learning_rate: float = 3e-4
    temperature: float = 0.1
    together: int = 4
    batch_size: int = 128
    share: float = 0.5
    telling: float = 1.0
    adversarial: float = 1.0
    strength: float = 0.3
    names: bool = True
    seed: int = 0

    @property
    def passes(self) -> int:
        """How often a step goes through the network and back."""
        return 2 if self.adversarial else 1


MANY = ContrastiveSchedule(telling=0.0, adversarial=0.0, strength=1.0, names=False)


def course_for(labels: Array) -> ContrastiveSchedule:
    """Return what is usual for so many labels: with many, contrast alone.

    >>> course_for(np.repeat([0, 1], 100)).passes, course_for(np.repeat([0, 1], 101)).passes
    (2, 1)
    """
    return ContrastiveSchedule() if len(labels) <= FEW * len(np.unique(labels)) else MANY


def contrast(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of features [B, D] with labels int [B], in nats.

    Every text has to tell those of its class from all others by cosine, divided by a temperature
    (Khosla et al. 2020, "Supervised contrastive learning", equation 2). A text without another of
    its class in the batch only serves as an other.

    >>> corners = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> loss = contrast(corners, torch.tensor([0, 0, 1, 1]), temperature=1.0)
    >>> round(float(loss), 4)  # -log(e^1 / (e^1 + 2 e^0))
    0.5514
    """
    directions = nn.functional.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    cosines = (directions @ directions.T / temperature).masked_fill(itself, APART)
    chances = cosines - torch.logsumexp(cosines, dim=1, keepdim=True)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    partners = alike.sum(dim=1)
    told = -(chances * alike).sum(dim=1) / partners.clamp(min=1)
    return told.sum() / (partners > 0).sum().clamp(min=1)


def batches(
    labels: Array, course: ContrastiveSchedule, generator: np.random.Generator
) -> Iterator[Array]:
    """Yield the rows of one epoch: every text once, classes in handfuls.

    A class of one text is drawn twice: dropout makes two looks of it (Gao et al. 2021, "SimCSE").

    >>> labels = np.array([0, 0, 0, 1, 1])
    >>> one = next(batches(labels, ContrastiveSchedule(together=2), np.random.default_rng(0)))
    >>> sorted(one.tolist())
    [0, 1, 2, 3, 4]
    """
    handfuls: list[Array] = []
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        rows = np.repeat(rows, 2) if len(rows) == 1 else rows
        handfuls += np.array_split(rows, max(1, len(rows) // course.together))
    order = generator.permutation(len(handfuls))
    step = max(2, course.batch_size // course.together)
    for start in range(0, len(order), step):
        yield np.concatenate([handfuls[index] for index in order[start : start + step]])


def tune(
    network: nn.Module,
    texts: Texts,
    course: ContrastiveSchedule,
    machine: Machine,
    *,
    progress: Progress = silent,
) -> tuple[float, ...]:
    """Move an encoder in place, and return the mean loss of every epoch, in nats.

    The first step of SetFit (Tunstall et al. 2022, "Efficient few-shot learning without prompts"),
    with every pair of a batch in place of drawn pairs. Beside that every class has a direction,
    learnt from the mean of its texts on, and texts are told apart by their cosines with all of them
    (cross-entropy beside contrast: Gunel et al. 2021, "Supervised contrastive learning for
    pre-trained language model fine-tuning"). Every batch is gone through twice, the second time
    with its words moved the way that hurts most (`WorstWords`). Tables of embeddings stay as they
    are: few texts hold few of the words. The weights end between where they were and where training
    took them (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3): few
    examples are soon known by heart, and half of the way keeps most of what was gained and undoes
    most of what was lost. The network maps token ids and mask -> features [B, D], and is back on
    the CPU afterwards; all texts are labelled.
    """
    network.to(machine.device)
    fixed = {id(table.weight) for table in tables(network)}
    moved = [each for each in network.parameters() if id(each) not in fixed]
    start = [parameter.detach().clone() for parameter in moved]
    seeded = [machine.device] if machine.device.startswith("cuda") else []
    with threads(machine.threads), torch.random.fork_rng(devices=seeded):
        task = _Task(network, texts, course, machine)
        network.train()
        torch.manual_seed(course.seed)  # what dropout draws from
        losses = _train(task, moved, progress)
    network.eval()
    with torch.no_grad():
        for parameter, before in zip(moved, start, strict=True):
            parameter.lerp_(before, 1 - course.share)
    network.cpu()
    return losses


class _Task:
    """What is asked of the encoder on a batch."""

    def __init__(
        self, network: nn.Module, texts: Texts, course: ContrastiveSchedule, machine: Machine
    ) -> None:
        self.network, self.texts, self.course, self.machine = network, texts, course, machine
        self.directions = nn.Parameter(_class_means(network, texts))
        self._words = WorstWords(network, course.adversarial)

    def take_back(self, rows: Array) -> float:
        """Add the gradients of a batch to the weights' and return its loss as it stands."""
        with self._words.watched():
            loss = self._loss(rows)
            torch.autograd.backward(loss)
        if self._words.moves:
            with self._words.moved():
                torch.autograd.backward(self._loss(rows))
        return loss.item()

    def _loss(self, rows: Array) -> Tensor:
        with forward(self.machine):
            features = run_in_groups(self.network, self.texts, rows)
        features = features.float()
        labels = torch.from_numpy(self.texts.labels[rows]).to(features.device)
        course = self.course
        loss = contrast(features, labels, course.temperature)
        if course.telling:
            ways = nn.functional.normalize(self.directions, dim=1)
            cosines = nn.functional.normalize(features, dim=1) @ ways.T
            told = nn.functional.cross_entropy(cosines / course.temperature, labels)
            loss = loss + course.telling * told
        return loss


def _class_means(network: nn.Module, texts: Texts) -> Tensor:
    """Return the direction [C, D] of the mean of every class's directions."""
    network.eval()
    with torch.no_grad():
        features = run_in_groups(network, texts, np.arange(len(texts.labels))).float()
    labels = torch.from_numpy(texts.labels).to(features.device)
    sums = torch.zeros(int(labels.max()) + 1, features.shape[1], device=features.device)
    sums.index_add_(0, labels, nn.functional.normalize(features, dim=1))
    return nn.functional.normalize(sums, dim=1)


def _train(task: _Task, moved: list[nn.Parameter], progress: Progress) -> tuple[float, ...]:
    course = task.course
    generator = np.random.default_rng(course.seed)
    epochs = [list(batches(task.texts.labels, course, generator)) for _ in range(course.epochs)]
    total = sum(map(len, epochs))
    optimiser = torch.optim.AdamW(
        [
            {"params": moved, "lr": course.learning_rate},
            {"params": [task.directions], "lr": QUICKER * course.learning_rate},
        ],
        fused=True,
    )
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, warm_cosine(total))
    losses: list[list[float]] = []
    for epoch in epochs:
        losses.append([])
        for rows in epoch:
            optimiser.zero_grad(set_to_none=True)
            losses[-1].append(task.take_back(rows))
            optimiser.step()
            rate.step()
            progress(sum(map(len, losses)), total)
    return tuple(float(np.mean(each)) for each in losses)
