"""How a network is fine-tuned: what the user may set, and how it runs on a machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.transfer.train.augmentation import Views

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 0.1
PATIENCE = 6
"""Epochs without a better one after which training ends, or half of a long schedule: as the rate
falls like a cosine, its best epochs come late."""
MAX_VIEWS = 16
"""Looks at every picture; with more epochs they come again."""


@dataclass(frozen=True)
class Machine:
    """How training runs here: see `machine.measure`.

    Attributes:
        threads: of torch on the CPU.
        bf16: whether products are taken in bfloat16.
        device: where the network is trained, as torch calls it.
        step_seconds: what one step took when it was tried; 0 where it was not.
        fused: whether frozen batch norms run as part of their convolutions (`fusing`).
    """

    threads: int
    bf16: bool
    device: str = "cpu"
    step_seconds: float = 0.0
    fused: bool = False


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
        rank: of the adapters that learn in place of the layers (Hu et al. 2022, LoRA; see `lora`);
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

    Attributes:
        epochs: those that the rate rises and falls over.
        stop: epochs after which training ends all the same, as others have shown them to be best;
            None for none.
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
