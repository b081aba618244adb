"""Times variants of a model in interleaved blocks, in wall and CPU time.

It does not summarise: every sample is kept, and the host judges.
"""

from __future__ import annotations

import random
import time
from typing import Any, Callable, List, Mapping, NamedTuple, Sequence, Tuple

import numpy as np

Call = Callable[[], object]
WINDOW = 10
"""Calls in one window of the warm-up rule."""
STABLE_WITHIN = 0.03
"""Relative spread of three window medians below which a variant counts as warm."""


class Plan(NamedTuple):
    """How long to warm up and to measure, per variant."""

    blocks: int
    block_s: float
    warmup_s: float
    warmup_max_s: float


class Clock(NamedTuple):
    """Where time is read, so that a test can bring its own."""

    wall_ns: Callable[[], int]
    cpu_ns: Callable[[], int]


REAL_CLOCK = Clock(time.perf_counter_ns, time.process_time_ns)


class Cycle:
    """Calls `run` with one prepared example after the other, for ever."""

    def __init__(self, run: Callable[[Any], object], examples: Sequence[Any]) -> None:
        self._run = run
        self._examples = examples
        self._next = 0

    def __call__(self) -> object:
        """Run the next example."""
        example = self._examples[self._next]
        self._next = (self._next + 1) % len(self._examples)
        return self._run(example)


def timed(call: Call, clock: Clock) -> Tuple[int, int]:
    """Return the wall and CPU time of one call in nanoseconds."""
    wall = clock.wall_ns()
    cpu = clock.cpu_ns()
    call()
    return clock.wall_ns() - wall, clock.cpu_ns() - cpu


def warm_up(call: Call, plan: Plan, clock: Clock = REAL_CLOCK) -> bool:
    """Run until three windows of calls have the same median; return whether they came to it."""
    start = clock.wall_ns()
    medians: List[float] = []
    while True:
        medians.append(float(np.median([timed(call, clock)[0] for _ in range(WINDOW)])))
        spent_s = (clock.wall_ns() - start) / 1e9
        last = medians[-3:]
        stable = len(last) == 3 and max(last) - min(last) <= STABLE_WITHIN * min(last)
        if (stable and spent_s >= plan.warmup_s) or spent_s >= plan.warmup_max_s:
            return stable


def measure(
    calls: Mapping[str, Call], plan: Plan, seed: int, clock: Clock = REAL_CLOCK
) -> Mapping[str, np.ndarray[Any, Any]]:
    """Time all variants round by round, in a new random order each round.

    Interleaving lets drift of the clock frequency hit all variants alike
    (Google Benchmark, "random interleaving").

    Returns:
        For each variant int64 [n, 3]: block, wall ns, CPU ns.
    """
    order = random.Random(seed)
    samples: Mapping[str, List[Tuple[int, int, int]]] = {name: [] for name in calls}
    for block in range(plan.blocks):
        for name in order.sample(sorted(calls), len(calls)):
            end = clock.wall_ns() + int(plan.block_s * 1e9)
            while True:
                wall, cpu = timed(calls[name], clock)
                samples[name].append((block, wall, cpu))
                if clock.wall_ns() >= end:
                    break
    return {name: np.array(rows, dtype=np.int64) for name, rows in samples.items()}
