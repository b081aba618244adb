"""What a student may be asked to have in common with its teacher, as functions of tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 1e-12


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean KL divergence from the teacher's softened decisions, times T squared.

    The factor keeps the gradient's size as the temperature T changes (Hinton, Vinyals & Dean 2015,
    "Distilling the knowledge in a neural network", section 2).

    Args:
        student: logits float32 [B, C].
        teacher: logits float32 [B, C].
        temperature: T; the higher, the more the small probabilities count.

    Returns:
        A scalar in nats; 0 where both say the same.

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


def hint(mapped: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of mapped student features from the teacher's.

    The student's features went through a learnt linear map, which is thrown away afterwards
    (Romero et al. 2015, "FitNets: Hints for thin deep nets", equation 3, without its factor 1/2).
    Where the target's features have a mean of 0 and a mean square of 1, so that 1 is what a
    student reaches that knows nothing, the loss is the share of variance not explained.

    Args:
        mapped: float32 [B, D].
        target: float32 [B, D].

    >>> float(hint(torch.zeros(2, 2), torch.tensor([[1.0, -1.0], [-1.0, 1.0]])))
    1.0
    """
    return nn.functional.mse_loss(mapped, target)


def distances(student: Tensor, teacher: Tensor) -> Tensor:
    """Return how much the distances between the examples of a batch differ, as a Huber loss.

    Distances are divided by their mean, so that the widths of the two feature spaces need not be
    the same (Park et al. 2019, "Relational knowledge distillation", section 3.2.1, equation 5).

    Args:
        student: features float32 [B, D].
        teacher: features float32 [B, E].

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

    Args:
        student: features float32 [B, D].
        teacher: features float32 [B, E].

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
