"""What a student is trained towards: the labels, and what its teacher said of the same look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from edgetransfer.distill import losses
from edgetransfer.transfer.train.objective import CrossEntropy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgetransfer.spec.recipe import DistillSpec
    from edgetransfer.transfer.train.objective import Seen

Array = np.ndarray[Any, Any]

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
    """What the teacher said, by look; arrays may be memory maps.

    Attributes:
        logits: float [N, C] for each look.
        features: float [N, D] for each look; None of a teacher that shows its decisions only.
    """

    logits: Sequence[Array]
    features: Sequence[Array] | None

    def logits_of(self, view: int, rows: Array) -> Tensor:
        """Return float32 [B, C]."""
        return _chosen(self.logits, view, rows)

    def features_of(self, view: int, rows: Array) -> Tensor:
        """Return float32 [B, D]."""
        assert self.features is not None  # whoever asks has looked
        return _chosen(self.features, view, rows)


def _chosen(looks: Sequence[Array], view: int, rows: Array) -> Tensor:
    """Take rows of a look; a text has but one, whatever the number asked for."""
    return torch.from_numpy(looks[view % len(looks)][rows].astype(np.float32))


class Distillation(nn.Module):
    """The weighted sum of the losses of labels, soft targets, hints and relations.

    Args:
        spec: the weights and the temperature.
        said: what the teacher said of every look at every example.
        hints: the loss of features; None where they have no weight, or the teacher shows none.
    """

    def __init__(self, spec: DistillSpec, said: TeacherLogits, hints: Hints | None) -> None:
        super().__init__()
        self._spec = spec
        self._said = said
        self._labels = CrossEntropy()
        self.hints = hints

    def forward(self, seen: Seen) -> Tensor:
        """Return the loss of a batch; what has no weight is not computed."""
        spec, said = self._spec, self._said
        loss: Tensor = spec.labels * self._labels(seen)
        if spec.soft > 0:
            asked = said.logits_of(seen.view, seen.rows)
            loss = loss + spec.soft * losses.soft_targets(seen.logits, asked, spec.temperature)
        if said.features is None:
            return loss
        teacher = said.features_of(seen.view, seen.rows)
        if self.hints is not None:
            loss = loss + spec.hints * self.hints(seen.features, teacher)
        if spec.relations > 0 and len(seen.rows) >= FEWEST_RELATED:
            related = losses.distances(seen.features, teacher)
            related = related + ANGLES_TO_DISTANCES * losses.angles(seen.features, teacher)
            loss = loss + spec.relations * related
        return loss


class Hints(nn.Module):
    """The loss of features through a linear map, which learns along and is thrown away.

    The map begins as the ridge regression of the teacher's features on the student's: a random one
    would first pull the student's features to where it happens to point.

    Args:
        student: features float [N, E], before it learns.
        teacher: features float [N, D] of the same looks; they are centred, and divided by one
            number so that their mean square is 1.
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
        mapped: Tensor = self.map(student)
        return losses.hint(mapped, (teacher - self._mean) / self._scale)


def _ridge(inputs: Array, outputs: Array) -> tuple[Array, Array]:
    """Return weight [D, E] and bias [D] of outputs [N, D] on inputs [N, E]."""
    mean = inputs.mean(axis=0)
    centred = inputs - mean
    gram = centred.T @ centred
    strength = RIDGE * float(np.trace(gram)) / len(gram) or 1.0
    weight = np.linalg.solve(gram + strength * np.eye(len(gram)), centred.T @ outputs).T
    return weight, outputs.mean(axis=0) - weight @ mean
