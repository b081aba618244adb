"""Contrastive fine-tuning of a text encoder: texts of one class are drawn together, others apart.

It does not fit the head: a probe on the moved features does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.running import precision, threads
from edgetransfer.transfer.schedule import warm_cosine
from edgetransfer.transfer.texts import Texts, run_in_groups

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from edgetransfer.transfer.schedule import Machine

Array = np.ndarray[Any, Any]

APART = -1e9
"""Stands for minus infinity where a text meets itself; its product with nought is nought."""


@dataclass(frozen=True)
class Course:
    """How far the encoder is moved.

    Attributes:
        epochs: passes over the texts.
        learning_rate: of AdamW, at its highest.
        temperature: cosines are divided by it; the smaller, the more the nearest wrong texts count.
        together: texts of one class that are drawn into a batch together.
        batch_size: texts in a batch.
        share: how far along the way from the old weights to the new ones it ends.
        seed: of batches and dropout.
    """

    epochs: int = 6
    learning_rate: float = 3e-4
    temperature: float = 0.1
    together: int = 4
    batch_size: int = 128
    share: float = 0.5
    seed: int = 0


def contrast(features: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return the supervised contrastive loss of a batch, in nats, a scalar.

    Every text has to tell those of its class from all others by cosine (Khosla et al. 2020,
    "Supervised contrastive learning", equation 2). A text without another of its class in the
    batch only serves as an other.

    Args:
        features: float [B, D].
        labels: int [B].
        temperature: cosines are divided by it.

    >>> corners = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> loss = contrast(corners, torch.tensor([0, 0, 1, 1]), temperature=1.0)
    >>> round(float(loss), 4)  # -log(e^1 / (e^1 + 2 e^0))
    0.5514
    """
    directions = nn.functional.normalize(features, dim=1)
    itself = torch.eye(len(labels), dtype=torch.bool)
    cosines = (directions @ directions.T / temperature).masked_fill(itself, APART)
    chances = cosines - torch.logsumexp(cosines, dim=1, keepdim=True)
    alike = (labels[:, None] == labels[None, :]) & ~itself
    partners = alike.sum(dim=1)
    told = -(chances * alike).sum(dim=1) / partners.clamp(min=1)
    return told.sum() / (partners > 0).sum().clamp(min=1)


def batches(labels: Array, course: Course, generator: np.random.Generator) -> Iterator[Array]:
    """Yield the rows of one epoch: every text once, classes in handfuls.

    A class of one text is drawn twice: dropout makes two looks of it (Gao et al. 2021, "SimCSE").

    >>> labels = np.array([0, 0, 0, 1, 1])
    >>> one = next(batches(labels, Course(together=2), np.random.default_rng(0)))
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
    course: Course,
    machine: Machine,
    *,
    progress: Progress = silent,
) -> tuple[float, ...]:
    """Move an encoder in place, and return the mean loss of every epoch, in nats.

    The first step of SetFit (Tunstall et al. 2022, "Efficient few-shot learning without prompts"),
    with every pair of a batch in place of drawn pairs. Tables of embeddings stay as they are: few
    texts hold few of the words. The weights end between where they were and where training took
    them (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", section 3): few examples
    are soon known by heart, and half of the way keeps most of what was gained and undoes most of
    what was lost.

    Args:
        network: token ids and mask -> features [B, D].
        texts: all of them labelled.
        course: how far.
        machine: threads and precision.
        progress: told of steps done.
    """
    moved = _movable(network)
    start = [parameter.detach().clone() for parameter in moved]
    network.train()
    with threads(machine.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(course.seed)  # what dropout draws from
        losses = _train(network, moved, texts, course, machine, progress)
    network.eval()
    with torch.no_grad():
        for parameter, before in zip(moved, start, strict=True):
            parameter.lerp_(before, 1 - course.share)
    return losses


def _train(
    network: nn.Module,
    moved: list[nn.Parameter],
    texts: Texts,
    course: Course,
    machine: Machine,
    progress: Progress,
) -> tuple[float, ...]:
    generator = np.random.default_rng(course.seed)
    epochs = [list(batches(texts.labels, course, generator)) for _ in range(course.epochs)]
    total = sum(map(len, epochs))
    optimiser = torch.optim.AdamW(moved, lr=course.learning_rate, fused=True)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, warm_cosine(total))
    losses: list[list[float]] = []
    for epoch in epochs:
        losses.append([])
        for rows in epoch:
            optimiser.zero_grad(set_to_none=True)
            with precision(machine):
                features = run_in_groups(network, texts, rows)
            labels = torch.from_numpy(texts.labels[rows])
            loss = contrast(features.float(), labels, course.temperature)
            torch.autograd.backward(loss)
            optimiser.step()
            rate.step()
            losses[-1].append(loss.item())
            progress(sum(map(len, losses)), total)
    return tuple(float(np.mean(each)) for each in losses)


def _movable(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are no table of embeddings."""
    tables = {id(each.weight) for each in network.modules() if isinstance(each, nn.Embedding)}
    return [each for each in network.parameters() if id(each) not in tables]
