"""Sets torch's threads and number format for as long as something trains.

It does not choose them: `machine` does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.transfer.schedule import Machine


def precision(machine: Machine) -> AbstractContextManager[Any]:
    """Take products in bfloat16 where the machine is faster with it."""
    kind = torch.device(machine.device).type
    return torch.autocast(kind, dtype=torch.bfloat16) if machine.bf16 else nullcontext()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Set torch's threads and set them back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
