"""Several processes that share one fit, by Hugging Face accelerate.

accelerate finds the processes that torchrun, `accelerate launch` or MPI started, gives each its
device, and sums tensors over them by NCCL or gloo. It does not wrap the network: what is summed is
one buffer of gradients a step, as gradients of batch means weigh by their examples (Goyal et al.
2017, "Accurate, large minibatch SGD", section 3).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from torch import Tensor, distributed, nn

from edgetransfer.errors import StageError
from edgetransfer.transfer.team import Team

Array = np.ndarray[Any, Any]
PATIENCE = timedelta(days=7)
"""How long a process waits for the others: the first one may read and measure for hours."""
_LONGEST = 2000
"""Bytes of a failure's message that are sent to the others."""


class Processes(Team):
    """Every process that the launcher started.

    Before anything is exchanged all processes meet, and one that failed meets them as well: so a
    failure ends the others wherever they are, and none waits for what will not come. With `cpu`
    training is on CPUs even where there are GPUs.
    """

    def __init__(self, *, cpu: bool) -> None:
        self._accelerator = Accelerator(
            cpu=cpu, kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)]
        )
        where = self._accelerator.device
        self.rank = self._accelerator.process_index
        self.size = self._accelerator.num_processes
        self.device = str(where)
        self._over = False  # whether nobody listens any more
        backend = distributed.get_backend() if distributed.is_initialized() else "no backend"
        self.told = f"{self.size} processes ({backend}, {where.type})"

    def share(self, rows: Array) -> Array:
        """Return the rows of a batch that are this process's."""
        return np.array_split(rows, self.size)[self.rank]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the sum over all processes in place of each gradient; none where none has one."""
        self.meet()
        learning = [each for each in parameters if each.requires_grad]
        given = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        has = torch.tensor([float(p.grad is not None) for p in learning], device=self.device)
        summed = self._sum(torch.cat([*(each.flatten() for each in given), has]))
        sizes = [*(p.numel() for p in learning), len(learning)]
        *parts, has = torch.split(summed, sizes)
        for parameter, part, held in zip(learning, parts, has.tolist(), strict=True):
            parameter.grad = part.view_as(parameter) if held else None

    def total(self, values: Array) -> Array:
        """Return the sum over all processes of float32 values."""
        self.meet()
        summed: Array = self._sum(torch.from_numpy(values).to(self.device)).cpu().numpy()
        return summed

    def meet(self, *, flag: bool = False, message: str | None = None) -> bool:
        """Wait for all, and tell whether one of them raised the flag; alone there is no wait.

        The message says what failed here.
        """
        if self._over:
            return flag
        said = torch.tensor([message is not None, flag], dtype=torch.int64, device=self.device)
        failed, flags = self._sum(said).tolist()
        if failed:
            self._end(message)
        return bool(flags)

    def fail(self, message: str) -> None:
        """Tell the others; every process but the first ends here."""
        with suppress(StageError):
            self.meet(message=message)

    def part(self) -> None:
        """End all processes but the first, which goes on alone."""
        self.meet()
        self._over = True
        distributed.destroy_process_group()
        if self.rank > 0:
            sys.exit(0)

    def _end(self, message: str | None) -> None:
        """Hear what failed; the first process says so, the others end without a word."""
        raw = (message or "").encode()[:_LONGEST].ljust(_LONGEST, b"\0")
        sent = torch.frombuffer(bytearray(raw), dtype=torch.uint8)[None].to(self.device)
        heard = self._accelerator.gather(sent).cpu().numpy()
        self._over = True
        if self.rank > 0:
            with suppress(StageError):  # the first process has spoken, and is gone
                self._sum(torch.zeros(1, device=self.device))
            sys.exit(0)
        distributed.destroy_process_group()  # or its threads abort the process as it ends
        texts = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in heard]
        rank = next(number for number, text in enumerate(texts) if text)
        raise StageError(
            f"process {rank + 1} of {self.size} failed, and the others were ended",
            where="several processes",
            found=texts[rank],
        )

    def _sum(self, values: Tensor) -> Tensor:
        try:
            summed: Tensor = self._accelerator.reduce(values, reduction="sum")
        except RuntimeError as error:
            self._over = True
            raise StageError(
                "a process is gone without a word",
                where="several processes",
                found=str(error).splitlines()[0],
                fix="see what the launcher says of it; the same command goes on from the last "
                "finished stage",
            ) from error
        return summed
