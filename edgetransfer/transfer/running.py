"""Sets torch's threads, number format and fusing for as long as something trains.

It does not choose them: `machine` does.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from edgetransfer.transfer.fusing import Fusing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.transfer.schedule import Machine


@contextmanager
def forward(machine: Machine) -> Iterator[None]:
    """Run the passes of a network as the machine is faster: in bfloat16, norms fused."""
    kind = torch.device(machine.device).type
    precision = torch.autocast(kind, dtype=torch.bfloat16) if machine.bf16 else nullcontext()
    with precision, Fusing() if machine.fused else nullcontext():
        yield


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's threads and set them back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
