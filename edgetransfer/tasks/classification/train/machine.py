"""Finds how training runs fastest on this machine, by trying."""

from __future__ import annotations

import copy
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.agent.environment import isa_flags
from edgetransfer.pipeline.stage.store import given_threads
from edgetransfer.tasks.classification.train.finetune import finetune
from edgetransfer.tasks.classification.train.lesson import Lesson
from edgetransfer.transfer.train.machine_settings import Machine, fusible

if TYPE_CHECKING:
    from edgetransfer.tasks.classification.train.classifier import Classifier
    from edgetransfer.tasks.classification.train.lesson import PreparedExamples, Schedule

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_ROWS, _COMPARED = 16, 2


def measure(
    network: Classifier, train: PreparedExamples, schedule: Schedule, where: str = "cpu"
) -> Machine:
    """Time one small step with one thread and with all, and return the faster way.

    More threads are not always faster: on two busy cores two threads that wait for each other
    in a loop were four times slower than one. bf16 is taken where the CPU has the instructions
    (1.8 times faster for MobileNetV2 on Zen 4). Norms are fused where the features stay the same.
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
