"""Finds how training runs fastest on this machine, by trying.

It does not train: what it does to the weights is undone.
"""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgetransfer.agent.environment import isa_flags
from edgetransfer.transfer.finetune import Examples, Lesson, Machine, Schedule, finetune

if TYPE_CHECKING:
    from edgetransfer.transfer.classifier import Classifier

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_ROWS = 16


def measure(network: Classifier, train: Examples, schedule: Schedule) -> Machine:
    """Time one small step with one thread and with all, and return the faster way.

    More threads are not always faster: on two busy cores two threads that wait for each other
    in a loop were four times slower than one. bf16 is taken where the CPU has the instructions
    (1.8 times faster for MobileNetV2 on Zen 4).
    """
    bf16 = not BF16_FLAGS.isdisjoint(isa_flags())
    rows = np.arange(min(_ROWS, len(train.labels)))
    some = Examples([np.asarray(array[rows]) for array in train.inputs], train.labels[rows])
    counts = sorted({1, torch.get_num_threads()})
    took = {count: _seconds(network, some, schedule, Machine(count, bf16)) for count in counts}
    return Machine(min(took, key=lambda count: took[count]), bf16)


def _seconds(network: Classifier, some: Examples, schedule: Schedule, machine: Machine) -> float:
    """Return the time of the second of two epochs over a few examples, on a copy."""
    if machine.threads == 1 and torch.get_num_threads() == 1:
        return 0.0  # nothing to choose from
    trial = copy.deepcopy(network)
    once = Schedule(1, schedule.learning_rate, schedule.batch_size, schedule.seed)
    nothing = Examples([array[:1] for array in some.inputs], some.labels[:1])
    finetune(trial, Lesson(some, nothing), once, machine)
    start = time.perf_counter()
    finetune(trial, Lesson(some, nothing), once, machine)
    return time.perf_counter() - start
