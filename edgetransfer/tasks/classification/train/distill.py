"""What a student is trained towards: the labels, and what its teacher said of the same look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgetransfer.spec.progress import Progress, silent
from edgetransfer.tasks.classification.head.linear_heads import in_16_bits
from edgetransfer.tasks.classification.train.lesson import CrossEntropy, Seen
from edgetransfer.transfer.features import run_over

if TYPE_CHECKING:
    import onnx

    from edgetransfer.data.manifest import Example
    from edgetransfer.graph.prepare import Batch, Preparer
    from edgetransfer.spec.recipe import DistillSpec

Array = np.ndarray[Any, Any]


def ask(
    model: onnx.ModelProto,
    prepare: Preparer,
    examples: Sequence[Example],
    look: Callable[[Batch, Array], Batch],
    *,
    progress: Progress = silent,
) -> Array:
    """Return the first output for one look at every example, [N, ...], in order.

    In float16 where that is exact enough (`linear_heads.in_16_bits`), else in float32.
    """
    rows = run_over(model, prepare, examples, change=look, progress=progress)
    return in_16_bits(rows, rows.std(axis=0, dtype=np.float64))


_SMALLEST = 1e-12


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean KL divergence in nats from the teacher's softened decisions, times T squared.

    Logits are float32 [B, C]; the higher the temperature T, the more small probabilities count. The
    factor keeps the gradient's size as T changes (Hinton, Vinyals & Dean 2015, "Distilling the
    knowledge in a neural network", section 2).

    >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
    >>> [round(float(soft_targets(student, teacher, t)), 4) for t in (1.0, 4.0)]
    [0.3278, 0.4848]
    >>> float(soft_targets(teacher + 5, teacher, 4.0))  # a softmax does not see a shift
    0.0
    """
    said = nn.functional.log_softmax(student / temperature, dim=1)
    asked = nn.functional.log_softmax(teacher / temperature, dim=1)
    divergence = nn.functional.kl_div(said, asked, reduction="batchmean", log_target=True)
    return divergence * temperature**2


def distances(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how much the distances between the examples of a batch differ, as a Huber loss.

    Distances are divided by their mean, so that the widths of the two feature spaces need not be
    the same (Park et al. 2019, "Relational knowledge distillation", section 3.2.1, equation 5).

    Features are float32 [B, D] and [B, E].

    >>> line = torch.tensor([[0.0], [1.0], [2.0]])
    >>> float(distances(3 * line, line))  # the same shape, three times as large
    0.0
    >>> bent = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    >>> round(float(distances(bent, line)), 4)
    0.0166
    """
    return nn.functional.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def _relative_distances(features: Tensor) -> Tensor:
    squares = (features[:, None] - features[None]).square().sum(dim=2)
    apart = ~torch.eye(len(features), dtype=torch.bool)
    lengths = squares[apart].clamp_min(_SMALLEST).sqrt()
    return lengths / lengths.mean()


def angles(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how much the angles that triplets of a batch form differ, as a Huber loss.

    The cosine at every example between the directions to two others is compared (Park et al.
    2019, section 3.2.2, equation 8).

    Features are float32 [B, D] and [B, E].

    >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> abs(round(float(angles(2 * corner + 1, corner)), 6))
    0.0
    >>> line = torch.tensor([[0.0], [1.0], [2.0]])
    >>> round(float(angles(corner, line)), 4)
    0.1296
    """
    return nn.functional.smooth_l1_loss(_cosines(student), _cosines(teacher))


def _cosines(features: Tensor) -> Tensor:
    """Return [B, B, B]: at the first, between the directions to the second and the third."""
    towards = nn.functional.normalize(features[None] - features[:, None], dim=2)
    return towards @ towards.transpose(1, 2)


RIDGE = 3.0
"""Strength of the regression that the map of the hints begins as, in mean variances of a feature.
MobileNetV2's features of tiny-imagenet and of ants and bees were foretold best at 1 to 3 from those
of MobileNetV1."""
FEWEST_RELATED = 3
"""Examples that a triplet needs: a smaller batch has no relations."""
ANGLES_TO_DISTANCES = 2.0
"""Park et al. 2019, section 4.1.3, weigh angles twice as much as distances."""


@dataclass(frozen=True)
class TeacherLogits:
    """What the teacher said: logits [N, C] and features [N, D] for each look; maybe memory maps.

    Features are None of a teacher that shows its decisions only.
    """

    logits: Sequence[Array]
    features: Sequence[Array] | None


def _of_a_batch(looks: Sequence[Array], seen: Seen) -> Tensor:
    """Return float32 [B, ...] of the look seen; a text has but one, whatever its number."""
    return torch.from_numpy(looks[seen.view % len(looks)][seen.rows].astype(np.float32))


class Distillation(nn.Module):
    """The weighted sum of the losses of labels, soft targets, hints and relations.

    Hints are None where they have no weight, or the teacher shows no features.
    """

    def __init__(self, spec: DistillSpec, said: TeacherLogits, hints: Hints | None) -> None:
        super().__init__()
        self._spec, self._said, self.hints = spec, said, hints
        self._labels = CrossEntropy()

    def forward(self, seen: Seen) -> Tensor:
        """Return the loss of a batch; what has no weight is not computed."""
        spec, said = self._spec, self._said
        loss: Tensor = spec.labels * self._labels(seen)
        if spec.soft > 0:
            asked = _of_a_batch(said.logits, seen)
            loss = loss + spec.soft * soft_targets(seen.logits, asked, spec.temperature)
        if said.features is None:
            return loss
        teacher = _of_a_batch(said.features, seen)
        if self.hints is not None:
            loss = loss + spec.hints * self.hints(seen.features, teacher)
        if spec.relations > 0 and len(seen.rows) >= FEWEST_RELATED:
            related = distances(seen.features, teacher)
            related = related + ANGLES_TO_DISTANCES * angles(seen.features, teacher)
            loss = loss + spec.relations * related
        return loss


class Hints(nn.Module):
    """The mean squared error of features through a linear map that is thrown away afterwards.

    Romero et al. 2015, "FitNets: Hints for thin deep nets", equation 3, without its factor 1/2. The
    map learns along, and begins as the ridge regression of the teacher's features on the student's:
    a random one would first pull the student's features to where it happens to point. Features are
    [N, E], before the student learns, and [N, D] of the same looks; the teacher's are centred, and
    divided by one number so that their mean square is 1: that is what a student reaches that knows
    nothing.
    """

    def __init__(self, student: Array, teacher: Array) -> None:
        super().__init__()
        target = teacher.astype(np.float32)
        mean = target.mean(axis=0)
        scale = float(np.sqrt(((target - mean) ** 2).mean())) or 1.0
        self._mean, self._scale = torch.from_numpy(mean), scale
        weight, bias = _ridge(student.astype(np.float64), (target - mean) / scale)
        self.map = nn.Linear(*weight.shape[::-1])
        with torch.no_grad():
            self.map.weight.copy_(torch.from_numpy(weight))
            self.map.bias.copy_(torch.from_numpy(bias))

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the share of the teacher's variance that the mapped features do not explain."""
        target = (teacher - self._mean) / self._scale
        return nn.functional.mse_loss(self.map(student), target)


def _ridge(inputs: Array, outputs: Array) -> tuple[Array, Array]:
    """Return weight [D, E] and bias [D] of outputs [N, D] on inputs [N, E]."""
    mean = inputs.mean(axis=0)
    centred = inputs - mean
    gram = centred.T @ centred
    strength = RIDGE * float(np.trace(gram)) / len(gram) or 1.0
    weight = np.linalg.solve(gram + strength * np.eye(len(gram)), centred.T @ outputs).T
    return weight, outputs.mean(axis=0) - weight @ mean
