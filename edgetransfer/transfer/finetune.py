"""Fine-tunes all layers from a probe's head, and keeps the epoch that validation liked best.

It does not choose the machine settings (`machine`) and does not evaluate on test examples.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.objective import CrossEntropy, Objective, Seen
from edgetransfer.transfer.probe import log_loss
from edgetransfer.transfer.views import Views

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    from edgetransfer.transfer.classifier import Classifier

Array = np.ndarray[Any, Any]

LAYER_GROUPS = 4
LAYER_DECAY = 2.6
"""Each group of layers learns this much slower than the one above it (Howard & Ruder 2018, ULMFiT,
section 3.2)."""
SMALLEST_SIZE = 1e-3
"""Root mean square below which a tensor (a bias of zeros) counts as this large."""
WEIGHT_DECAY = 0.01
WARM_UP = 0.1
PATIENCE = 6
"""Epochs without a better one after which training ends, or half of a long schedule: as the rate
falls like a cosine, its best epochs come late."""
MAX_VIEWS = 16
"""Looks at every picture; with more epochs they come again."""
OWN_RATE = 10.0
"""How much faster than the head an objective's own parameters learn: nothing is lost if they
move far."""


@dataclass(frozen=True)
class Machine:
    """How training runs here: see `machine.measure`."""

    threads: int
    bf16: bool


@dataclass(frozen=True)
class Schedule:
    """What the user may set."""

    epochs: int
    learning_rate: float
    batch_size: int
    seed: int

    @property
    def patience(self) -> int:
        """Epochs without a better one after which training ends."""
        return max(PATIENCE, self.epochs // 2)

    @property
    def views(self) -> Views:
        """The looks at pictures that the epochs go through."""
        return Views(self.seed, min(self.epochs, MAX_VIEWS))


@dataclass(frozen=True)
class Examples:
    """Prepared examples; `inputs` may be memory maps.

    Attributes:
        inputs: one array [N, ...] for each input of the network, in order.
        labels: int64 [N], `objective.UNLABELLED` where there is none.
    """

    inputs: Sequence[Array]
    labels: Array

    def batch(self, rows: Array) -> tuple[list[Tensor], Tensor]:
        """Return copies of some rows as tensors."""
        inputs = [torch.from_numpy(np.ascontiguousarray(array[rows])) for array in self.inputs]
        return inputs, torch.from_numpy(self.labels[rows])


@dataclass(frozen=True)
class Lesson:
    """What is to be learnt, and what says how well it was."""

    train: Examples
    validation: Examples
    objective: Objective = field(default_factory=CrossEntropy)


@dataclass(frozen=True)
class Tuned:
    """What fine-tuning came to; the network holds the weights of `best_epoch`.

    Attributes:
        best_epoch: 0 is the probe that it started from.
        history: (validation log loss, validation accuracy) after each epoch, the probe first.
    """

    best_epoch: int
    history: tuple[tuple[float, float], ...]


def finetune(
    network: Classifier,
    lesson: Lesson,
    schedule: Schedule,
    machine: Machine,
    *,
    progress: Progress = silent,
) -> Tuned:
    """Train in place; stop when validation has not improved for a few epochs.

    Batch norms keep their statistics: a small batch of few examples would spoil them, and some
    checkpoints hold folded ones whose statistics mean nothing.
    """
    train, validation = lesson.train, lesson.validation
    generator = torch.Generator().manual_seed(schedule.seed)
    steps = math.ceil(len(train.labels) / schedule.batch_size)
    learning_rate = schedule.learning_rate
    own = [_group(each, OWN_RATE * learning_rate) for each in lesson.objective.parameters()]
    optimiser = torch.optim.AdamW(parameter_groups(network, learning_rate) + own)
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, _warm_cosine(steps * schedule.epochs))
    history = [_validate(network, validation, machine, schedule.batch_size)]
    best = {name: value.clone() for name, value in network.state_dict().items()}
    best_epoch = 0
    with _threads(machine.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed)  # what dropout draws from
        for epoch in range(1, schedule.epochs + 1):
            _set_training(network)
            view = schedule.views.of_epoch(epoch)
            for step, rows in enumerate(_shuffled(len(train.labels), schedule, generator)):
                inputs, labels = train.batch(rows)
                shown = _show(inputs, schedule.views, view, rows)
                optimiser.zero_grad(set_to_none=True)
                with _precision(machine):
                    features = network.network(*shown)
                    logits = network.head(features)
                seen = Seen(features.float(), logits.float(), labels, rows, view)
                torch.autograd.backward(lesson.objective(seen))
                optimiser.step()
                rate.step()
                progress((epoch - 1) * steps + step + 1, schedule.epochs * steps)
            history.append(_validate(network, validation, machine, schedule.batch_size))
            if history[-1][0] < history[best_epoch][0]:
                best_epoch = epoch
                best = {name: value.clone() for name, value in network.state_dict().items()}
            elif epoch - best_epoch >= schedule.patience:
                break
    network.load_state_dict(best)
    network.eval()
    return Tuned(best_epoch, tuple(history))


def parameter_groups(network: Classifier, learning_rate: float) -> list[dict[str, Any]]:
    """Return AdamW's groups: slower towards the input, no decay of norms and biases.

    A step of Adam moves every weight by about its learning rate, whatever the weight's size. Rates
    are therefore relative to the root mean square of each tensor (Shazeer & Stern 2018, Adafactor,
    section 8): the head of a probe on wide features, and networks whose batch norms were folded,
    hold weights of very different sizes, and one absolute rate threw away in an epoch what they
    had learnt.
    """
    layers = list(network.network.named_parameters())
    groups = []
    for index, (_, parameter) in enumerate(layers):
        below_top = LAYER_GROUPS - 1 - index * LAYER_GROUPS // len(layers)
        groups.append(_group(parameter, learning_rate / LAYER_DECAY**below_top))
    return groups + [_group(parameter, learning_rate) for parameter in network.head.parameters()]


def _group(parameter: nn.Parameter, learning_rate: float) -> dict[str, Any]:
    size = float(parameter.detach().square().mean().sqrt())
    decay = WEIGHT_DECAY if parameter.ndim > 1 else 0.0
    rate = learning_rate * max(size, SMALLEST_SIZE)
    return {"params": [parameter], "lr": rate, "weight_decay": decay}


def _warm_cosine(total: int) -> Callable[[int], float]:
    """Rise linearly, then fall as half a cosine (Loshchilov & Hutter 2017, SGDR)."""
    warm = max(1, round(WARM_UP * total))

    def share(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))

    return share


def _set_training(network: nn.Module) -> None:
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def _shuffled(count: int, schedule: Schedule, generator: torch.Generator) -> Iterator[Array]:
    order = torch.randperm(count, generator=generator).numpy()
    for start in range(0, count, schedule.batch_size):
        yield order[start : start + schedule.batch_size]


def _show(inputs: list[Tensor], views: Views, view: int, rows: Array) -> list[Tensor]:
    """Return a look at pictures; texts are as they are."""
    if not inputs[0].is_floating_point():
        return inputs
    shown = views.show(inputs[0], view, rows)
    return [shown.contiguous(memory_format=torch.channels_last)]


def _precision(machine: Machine) -> AbstractContextManager[Any]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if machine.bf16 else nullcontext()


def _validate(
    network: Classifier, examples: Examples, machine: Machine, batch_size: int
) -> tuple[float, float]:
    network.eval()
    rows = []
    with torch.no_grad(), _precision(machine), _threads(machine.threads):
        for start in range(0, len(examples.labels), batch_size):
            chosen = np.arange(start, min(start + batch_size, len(examples.labels)))
            rows.append(network(*examples.batch(chosen)[0]).float().numpy())
    logits = np.concatenate(rows)
    right = float((logits.argmax(axis=1) == examples.labels).mean())
    return log_loss(logits, examples.labels), right


class _threads:
    """Set torch's threads and set them back."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> None:
        self._before = torch.get_num_threads()
        torch.set_num_threads(self._count)

    def __exit__(self, *_: object) -> None:
        torch.set_num_threads(self._before)
