"""Fine-tunes from a probe's head, by the way that is fastest here, to the epoch liked best."""

from __future__ import annotations

import copy
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from edgetransfer.agent.environment import isa_flags
from edgetransfer.pipeline.stage.store import given_threads
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.head.probe import log_loss, score
from edgetransfer.tasks.classification.train.layers import (
    WEIGHT_DECAY,
    adapted,
    adapter_groups,
    grouped,
    parameter_group,
    parameter_groups,
    set_free,
)
from edgetransfer.tasks.classification.train.lesson import Lesson, Seen, batches, warm_cosine
from edgetransfer.transfer.machine_settings import Machine, forward, fusible, threads
from edgetransfer.transfer.team import ALONE, Team

if TYPE_CHECKING:
    from edgetransfer.tasks.classification.train.layers import Classifier
    from edgetransfer.tasks.classification.train.lesson import PreparedExamples, Schedule
    from edgetransfer.transfer.looks import Views

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_ROWS, _COMPARED = 16, 2


def measure(
    network: Classifier, train: PreparedExamples, schedule: Schedule, where: str = "cpu"
) -> Machine:
    """Time one small step with one thread and with all, and return the faster way.

    On two busy cores two threads were four times slower than one. bf16 is taken where the CPU has
    the instructions (1.8 times faster for MobileNetV2 on Zen 4). Norms are fused where the features
    stay the same.
    """
    cpu = where == "cpu"
    bf16 = not BF16_FLAGS.isdisjoint(isa_flags()) if cpu else where == "cuda"
    some = train.take(np.arange(min(_ROWS, len(train.labels))))
    counts = sorted({1, given_threads()}) if cpu else [given_threads()]
    fused = fusible(network, some.batch(np.arange(min(_COMPARED, len(some.labels))))[0])
    ways = [Machine(count, bf16, where, fused=fused) for count in counts]
    took = {way: _seconds(network, some, schedule, way) for way in ways}
    best = min(took, key=lambda way: took[way])
    batch = min(schedule.batch_size, max(1, len(train.labels)))
    return replace(best, step_seconds=took[best] * batch / len(some.labels))


def _seconds(
    network: Classifier, some: PreparedExamples, schedule: Schedule, machine: Machine
) -> float:
    """Return the time of the second of two epochs over a few examples, on a copy."""
    trial = copy.deepcopy(network)
    once = replace(schedule, epochs=1)
    lesson = Lesson(some, some.take(np.arange(1)))
    finetune(trial, lesson, once, machine)
    start = time.perf_counter()
    finetune(trial, lesson, once, machine)
    return time.perf_counter() - start


Array = np.ndarray[Any, Any]
OWN_RATE = 10.0
"""How much faster than the head an objective's own parameters learn: nothing is lost if they
move far."""


@dataclass(frozen=True)
class TunedNetwork:
    """What fine-tuning came to; the network holds the weights of `best_epoch`.

    Attributes:
        best_epoch: 0 is the probe that it started from; the last one without a validation set.
        history: (validation log loss, metric) after each epoch, the probe first; none without.
        said: validation logits after each epoch, the probe first, float32 [E + 1, V, C].
    """

    best_epoch: int
    history: tuple[tuple[float, float], ...]
    said: Array


def finetune(
    network: Classifier,
    lesson: Lesson,
    schedule: Schedule,
    machine: Machine,
    *,
    progress: Progress = silent,
    team: Team = ALONE,
) -> TunedNetwork:
    """Train in place, and keep the epoch that validation likes best, by the metric.

    It stops when neither the metric nor the log loss, mended, has improved for a few epochs.

    Several processes split every batch and sum their gradients, so that the weights are those of
    one process but for rounding; where there is dropout, each draws its own.

    Batch norms keep their statistics: a small batch of few examples would spoil them, and some
    checkpoints hold folded ones whose statistics mean nothing.
    """
    adapters = adapted(network, schedule.technique.rank, schedule.seed)
    with adapters, threads(machine.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(schedule.seed + team.rank)  # what dropout draws from
        network.to(machine.device)
        try:
            return _Training(network, lesson, schedule, machine, team).run(progress)
        finally:
            network.to("cpu")
            network.eval()


class _Training:
    def __init__(
        self, network: Classifier, lesson: Lesson, schedule: Schedule, machine: Machine, team: Team
    ) -> None:
        technique, rate = schedule.technique, schedule.learning_rate
        self._network, self._lesson = network, lesson
        self._schedule, self._machine, self._team = schedule, machine, team
        self._generator = torch.Generator().manual_seed(schedule.seed)
        decay = 0.0 if technique.l2_sp else WEIGHT_DECAY
        own = [parameter_group(each, OWN_RATE * rate) for each in lesson.objective.parameters()]
        grouping = adapter_groups if technique.rank else parameter_groups
        groups = grouping(network, rate, decay)
        self._learning = [each for group in groups + own for each in group["params"]]
        self._optimiser = torch.optim.AdamW(groups + own)
        self._steps = schedule.steps_of(len(lesson.train.labels))
        total = self._steps * schedule.epochs
        self._share = warm_cosine(total)
        self._rate = torch.optim.lr_scheduler.LambdaLR(self._optimiser, self._share)
        pulled = network.network.parameters() if technique.l2_sp else ()
        self._pulled = [(each, each.detach().clone()) for each in pulled if each.requires_grad]
        self._mean = None
        if technique.averaging:
            new = 1 - technique.averaging
            self._mean = AveragedModel(
                network, avg_fn=lambda old, now, _: torch.lerp(old, now, new)
            )

    def run(self, progress: Progress) -> TunedNetwork:
        """Train all epochs, and load the best."""
        lesson, schedule = self._lesson, self._schedule
        truth, judging = lesson.validation.labels, len(lesson.validation.labels) > 0
        said = [self._decide()]
        scores = [score(said[0], truth, lesson.metric)] if judging else []
        best, best_epoch, improved = self._state(), 0, 0
        for epoch in range(1, (schedule.stop or schedule.epochs) + 1):
            self._epoch(epoch, progress)
            if not judging:
                best_epoch = epoch
                continue
            said.append(self._decide())
            scores.append(score(said[-1], truth, lesson.metric))
            if scores[-1].mended > max(each.mended for each in scores[:-1]):
                improved = epoch
            if scores[-1] > scores[best_epoch]:
                best, best_epoch, improved = self._state(), epoch, epoch
            elif epoch - improved >= schedule.patience:
                break
        if schedule.technique.gradual:
            set_free(grouped(self._network), len(grouped(self._network)))
        self._network.load_state_dict(best if judging else self._state())
        history = tuple(
            (log_loss(each, truth), found.value) for each, found in zip(said, scores, strict=False)
        )
        return TunedNetwork(best_epoch, history, np.stack(said))

    def _epoch(self, epoch: int, progress: Progress) -> None:
        schedule, lesson = self._schedule, self._lesson
        if schedule.technique.gradual:
            set_free(grouped(self._network), epoch - 1)
        for module in self._network.train().modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        view = schedule.views.of_epoch(epoch)
        rows_of_epoch = batches(lesson.train.labels, schedule, self._generator)
        for step, rows in enumerate(rows_of_epoch):
            self._optimiser.zero_grad(set_to_none=True)
            mine = self._team.share(rows)
            if len(mine):
                loss = lesson.objective(self._look(mine, view))
                torch.autograd.backward(loss * (len(mine) / len(rows)))
            self._team.sum_gradients(self._learning)
            self._optimiser.step()
            self._pull()
            self._rate.step()
            if self._mean is not None:
                self._mean.update_parameters(self._network)
            done, last = (epoch - 1) * self._steps + step + 1, schedule.stop or schedule.epochs
            progress(done, last * self._steps)

    def _look(self, rows: Array, view: int) -> Seen:
        """Show some examples to the network, and return what it made of them."""
        inputs, labels = self._lesson.train.batch(rows)
        places = self._lesson.train.standing(rows)
        shown = _show(inputs, self._schedule.views, view, places)
        with forward(self._machine):
            features = self._network.network(*self._there(shown))
            logits = self._network.head(features)
        return Seen(features.float(), logits.float(), labels.to(logits.device), places, view)

    @torch.no_grad()
    def _pull(self) -> None:
        """Pull weights towards where they started, as weight decay pulls towards zero."""
        rate = self._schedule.learning_rate * self._share(self._rate.last_epoch)
        for parameter, start in self._pulled:
            parameter.lerp_(start, min(1.0, rate * self._schedule.technique.l2_sp))

    def _judged(self) -> nn.Module:
        return self._network if self._mean is None else self._mean.module

    def _state(self) -> dict[str, Tensor]:
        return {name: value.clone() for name, value in self._judged().state_dict().items()}

    @torch.no_grad()
    def _decide(self) -> Array:
        """Return the validation logits, float32 [V, C]."""
        judged, examples = self._judged().eval(), self._lesson.validation
        rows = np.arange(len(examples.labels))
        logits = np.zeros((len(rows), len(self._network.head.weight)), np.float32)
        size, team = self._schedule.batch_size, self._team
        with forward(self._machine):
            for start in range(team.rank * size, len(rows), team.size * size):
                chosen = rows[start : start + size]
                inputs = self._there(examples.batch(chosen)[0])
                logits[chosen] = judged(*inputs).float().cpu().numpy()
        return team.total(logits)  # what others decided is zero here

    def _there(self, tensors: list[Tensor]) -> list[Tensor]:
        return [each.to(self._machine.device) for each in tensors]


def _show(inputs: list[Tensor], views: Views, view: int, rows: Array) -> list[Tensor]:
    """Return a look at pictures; texts are as they are."""
    if not inputs[0].is_floating_point():
        return inputs
    shown = views.show(inputs[0], view, rows)
    return [shown.contiguous(memory_format=torch.channels_last)]
