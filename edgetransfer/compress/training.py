"""Trains a quantised graph to give what the float graph gives; labels are not needed.

It does not judge the result.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch

from edgetransfer.compress.execution import Execution
from edgetransfer.compress.fakequant import FakeQuantised, FreeWeights, LearnedRounding
from edgetransfer.compress.layout import Layout, find_layers, name_of
from edgetransfer.spec.progress import Progress, silent
from edgetransfer.transfer.memory import reused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import onnx_ir as ir
    from torch import Tensor, nn

    from edgetransfer.compress.encoding import Encoding

SMALLEST_SIZE = 1e-3
TIMED_STEPS = 3


@dataclass(frozen=True)
class Course:
    """How a quantised graph is trained.

    Attributes:
        weights: what of the weights is learnt.
        steps: of the optimiser, at most.
        seconds: as many as that are taken about, by doing fewer steps where one takes long.
        rate: of weights and biases, as a share of each tensor's size; in rounding, in steps.
        scale_rate: of the logarithms of the activations' steps.
    """

    weights: type[FreeWeights] | type[LearnedRounding]
    steps: int
    seconds: float
    rate: float
    scale_rate: float

    def settings(self) -> dict[str, object]:
        """Return all of it as plain values."""
        return {**asdict(self), "weights": self.weights.__name__}


ROUNDING = Course(LearnedRounding, steps=200, seconds=240.0, rate=5e-3, scale_rate=1e-4)
"""Learned rounding: weights stay within one step of the float ones."""
QAT = Course(FreeWeights, steps=400, seconds=600.0, rate=3e-5, scale_rate=1e-4)
"""Quantisation-aware training."""


@reused()
def train(
    graph: ir.Graph,
    layout: Layout,
    encoding: Encoding,
    batches: Callable[[], Iterator[dict[str, Tensor]]],
    course: Course,
    *,
    progress: Progress = silent,
) -> tuple[Encoding, list[float]]:
    """Train towards the float graph's logits and towards what flows into its last layer.

    The loss is the noise of the logits over their signal, means over the classes taken away, as
    `measure.drift.sqnr_db` defines it, and the same of the features in front of the head.

    Args:
        graph: float; the teacher.
        layout: where it is quantised.
        encoding: where training starts.
        batches: makes an endless stream of prepared examples, the same on every call.
        course: how long and how fast.
        progress: told of steps.

    Returns:
        The encoding it came to, and the loss of every step.
    """
    student = FakeQuantised(graph, layout, encoding, course.weights)
    teacher = Execution(graph)
    watched = _watched(graph)
    optimiser = torch.optim.Adam(_groups(student, course))
    rates = [group["lr"] for group in optimiser.param_groups]
    losses: list[float] = []
    clock = _Clock(course)
    for step, feeds in enumerate(batches()):
        if step == clock.steps(step):
            break
        share = 0.5 * (1 + math.cos(math.pi * step / clock.steps(step)))
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * share
        loss = _loss(student, teacher, feeds, watched)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(float(loss.detach()))
        progress(step + 1, clock.steps(step))
    return student.encoding(), losses


def _loss(
    student: FakeQuantised, teacher: Execution, feeds: dict[str, Tensor], watched: str
) -> Tensor:
    wanted, got = {watched: torch.zeros(())}, {watched: torch.zeros(())}
    with torch.no_grad():
        target = teacher.run(feeds, _keeping(wanted))[0]
    logits = student(feeds, got)
    return noise(_centred(logits), _centred(target)) + noise(got[watched], wanted[watched])


class _Clock:
    """Fits the number of steps to the time there is, once the first few tell what one takes."""

    def __init__(self, course: Course) -> None:
        self._course = course
        self._started = time.monotonic()
        self._steps = course.steps

    def steps(self, done: int) -> int:
        """Return how many steps there are in all; rates fall to zero over these."""
        if done == TIMED_STEPS and self._steps == self._course.steps:
            each = (time.monotonic() - self._started) / done
            self._steps = max(done, min(self._steps, int(self._course.seconds / each)))
        return self._steps


def noise(got: Tensor, wanted: Tensor) -> Tensor:
    """Return the energy of the difference over the energy of what was wanted.

    >>> float(noise(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 2.0])))
    0.2...
    """
    return (got - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12)


def _centred(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=1, keepdim=True)


def _watched(graph: ir.Graph) -> str:
    """Return the tensor whose noise is trained away too: what the last layer takes."""
    return name_of(list(find_layers(graph))[-1].input)


def _keeping(seen: dict[str, Tensor]) -> Callable[[str, Tensor], Tensor]:
    def visit(name: str, tensor: Tensor) -> Tensor:
        if name in seen:
            seen[name] = tensor
        return tensor

    return visit


def _groups(student: FakeQuantised, course: Course) -> list[dict[str, object]]:
    """Return Adam's groups: rates relative to each tensor's size, as in fine-tuning."""
    groups: list[dict[str, object]] = [
        {"params": list(student.grids.parameters()), "lr": course.scale_rate}
    ]
    relative: list[nn.Parameter] = list(student.biases.parameters())
    if course.weights is LearnedRounding:
        groups.append({"params": list(student.weights.parameters()), "lr": course.rate})
    else:
        relative += list(student.weights.parameters())
    bias_rate = min(course.rate, QAT.rate)
    for parameter in relative:
        if parameter.numel():
            size = float(parameter.detach().square().mean().sqrt())
            rate = course.rate if parameter.ndim > 1 else bias_rate
            groups.append({"params": [parameter], "lr": rate * max(size, SMALLEST_SIZE)})
    return groups
