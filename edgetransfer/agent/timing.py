"""Times variants of a model in interleaved blocks; a kernel and a model that stay the same."""

from __future__ import annotations

import base64
import itertools
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Callable, Mapping, NamedTuple, Optional, Sequence

import numpy as np

if TYPE_CHECKING:
    from edgetransfer.agent.conditions import Reading, ThrottleWatch

Call = Callable[[], object]
Rows = list[tuple[int, int, int]]
WINDOW = 4
"""Calls in one window of the warm-up rule, at least."""
WINDOWS = 3
"""They fill the shortest warm-up, and are all looked at."""
STABLE_WITHIN = 0.03
"""Relative spread of three window medians below which a variant counts as warm."""
PARTS = 4
"""Into which each window is cut to look for a trend."""
TREND = 0.01
"""Relative change over the three windows under which a trend does not matter."""
OVERTIME = 2.0
"""Times the planned time of all turns after which no further round is begun, and"""
FEWEST_ROUNDS = 3
"""rounds that are taken all the same: a call of a second is not made sixty times."""


@dataclass(frozen=True)
class TimingPlan:
    """How long each fresh process warms up and measures, per variant.

    Blocks are rounds at most, in each of which every variant has a turn; `block_s` is the time of
    the timed calls of a turn, at least.
    """

    blocks: int = 20
    block_s: float = 0.0125
    warmup_s: float = 0.3
    warmup_max_s: float = 5.0


class Clock(NamedTuple):
    """Where time is read, so that a test can bring its own."""

    wall_ns: Callable[[], int]
    cpu_ns: Callable[[], int]


REAL_CLOCK = Clock(time.perf_counter_ns, time.process_time_ns)


class Measured(NamedTuple):
    """What was timed.

    Attributes:
        samples: for each variant int64 [n, 3]: block, wall ns, CPU ns.
        turns: what the guard saw of each turn, in the order of time; see `measure`.
    """

    samples: Mapping[str, np.ndarray[Any, Any]]
    turns: list[Reading]


def cycled(run: Callable[[Any], object], examples: Sequence[Any]) -> Call:
    """Return a call that runs one prepared example after the other, for ever."""
    following = itertools.cycle(examples)
    return lambda: run(next(following))


def timed(call: Call, clock: Clock) -> tuple[int, int]:
    """Return the wall and CPU time of one call in nanoseconds.

    The CPU clock is read outside of the wall time: reading it is a system call, and on its way back
    from one a busy machine gives the core to another program for a whole time slice.
    """
    cpu = clock.cpu_ns()
    wall = clock.wall_ns()
    call()
    wall = clock.wall_ns() - wall
    return wall, clock.cpu_ns() - cpu


def warm_up(call: Call, plan: TimingPlan, clock: Clock = REAL_CLOCK) -> bool:
    """Run until three windows of calls take the same time; return whether they came to it.

    Their medians lie within 3 %, and no trend runs through them that matters. A slow model gets its
    three windows, however long they take.
    """
    start = clock.wall_ns()
    windows: list[list[int]] = []
    while True:
        windows.append(_window(call, plan, clock))
        spent_s = (clock.wall_ns() - start) / 1e9
        stable = len(windows) >= WINDOWS and _stable(windows[-WINDOWS:])
        late = spent_s >= plan.warmup_max_s and len(windows) >= WINDOWS
        if (stable and spent_s >= plan.warmup_s) or late:
            return stable


def _window(call: Call, plan: TimingPlan, clock: Clock) -> list[int]:
    start = clock.wall_ns()
    taken: list[int] = []
    while len(taken) < WINDOW or clock.wall_ns() - start < plan.warmup_s / WINDOWS * 1e9:
        taken.append(timed(call, clock)[0])
    return taken


def _stable(windows: Sequence[Sequence[int]]) -> bool:
    medians = [float(np.median(window)) for window in windows]
    if max(medians) - min(medians) > STABLE_WITHIN * min(medians):
        return False
    parts = [float(np.median(part)) for each in windows for part in np.array_split(each, PARTS)]
    return abs(medians[-1] - medians[0]) <= TREND * min(medians) or not has_trend(parts)


def has_trend(values: Sequence[float]) -> bool:
    """Tell whether values rise or fall for longer than chance would have it (5 %, two-sided).

    Source: Mann, Econometrica 13 (1945); Kendall, Rank Correlation Methods (1975): normal
    approximation with continuity correction.

    >>> has_trend([5, 6, 7, 8, 9, 10, 11, 12]), has_trend([5, 9, 6, 8, 5, 9, 7, 6])
    (True, False)
    """
    n, each = len(values), np.array(values)
    score = np.triu(np.sign(each - each[:, None])).sum()
    return bool(abs(score) - 1 > 1.96 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18))


def measure(
    calls: Mapping[str, Call],
    plan: TimingPlan,
    seed: int,
    clock: Clock = REAL_CLOCK,
    guard: Optional[ThrottleWatch] = None,
) -> Measured:
    """Time all variants round by round, in a new random order each round.

    Interleaving lets drift of the clock frequency hit all variants alike
    (Google Benchmark, "random interleaving"), and what other work on the machine does too, if the
    turns are short: of two equal variants, the ratio of a process wavered by 0.9 % with turns of
    50 ms, by 0.5 % with 12 ms, in the same time. With a guard, a turn that was disturbed is marked,
    and taken once more after the machine had time to cool.

    Returns:
        The samples, and of each turn `name`, `block` and what the guard saw. A turn that was taken
        again has its round's number plus the number of rounds as its block; the second try has
        the round's, so that it pairs with the other variants of the round.
    """
    order = random.Random(seed)
    samples: dict[str, Rows] = {name: [] for name in calls}
    turns: list[Reading] = []
    allowed_ns = int(OVERTIME * plan.blocks * plan.block_s * len(calls) * 1e9)
    spent_ns = 0
    for block in range(plan.blocks):
        if block >= FEWEST_ROUNDS and spent_ns >= allowed_ns:
            break
        for name in order.sample(sorted(calls), len(calls)):
            rows, seen, took_ns = _turn(calls[name], plan.block_s, clock, guard)
            if guard is not None and seen["marks"]:
                turns.append({"name": name, "block": plan.blocks + block, **seen})
                samples[name] += [(plan.blocks + block, *row) for row in rows]
                guard.cool_down()
                rows, seen, took_ns = _turn(calls[name], plan.block_s, clock, guard)
            spent_ns += took_ns
            turns.append({"name": name, "block": block, **seen})
            samples[name] += [(block, *row) for row in rows]
    arrays = {name: np.array(rows, dtype=np.int64) for name, rows in samples.items()}
    return Measured(arrays, turns)


def _turn(
    call: Call, turn_s: float, clock: Clock, guard: Optional[ThrottleWatch]
) -> tuple[list[tuple[int, int]], Reading, int]:
    """Time one variant for a while; return wall and CPU times, what the guard saw, and ns spent.

    A first call, which is not timed, brings back to the caches what the other variants drove out:
    it took 2 to 4 % longer than those after it.
    """
    if guard is not None:
        guard.begin()
    rows = []
    start = clock.wall_ns()
    call()
    end = clock.wall_ns() + int(turn_s * 1e9)
    while True:
        rows.append(timed(call, clock))
        now = clock.wall_ns()
        if now >= end:
            break
    return rows, {"marks": []} if guard is None else guard.end(), now - start


NULL_MODEL = base64.b64decode(
    "CAgSADo/ChAKAXgSAXkiCElkZW50aXR5EgFuWhMKAXgSDgoMCAESCAoCCAEKAggBYhMKAXkSDgoMCAESCAoCCAEKAggBQgQKABAN"
)
"""``y = Identity(x)``, x float32 [1, 1]: its second byte is IR version 8, its last opset 13."""
_CALLS = 500
_WARM = 50


def floor_ns(run: Callable[[Mapping[str, np.ndarray[Any, Any]]], object]) -> float:
    """Return the median wall time of one call of the null model."""
    example = {"x": np.zeros((1, 1), np.float32)}
    for _ in range(_WARM):
        run(example)
    return float(np.median([timed(lambda: run(example), REAL_CLOCK)[0] for _ in range(_CALLS)]))


_NUMBERS = 4096
_ROUNDS = 8
_BEST_OF = 8
_BASELINE_OF = 40


class Baseline(NamedTuple):
    """What the kernel takes when the machine is fresh, and how much that wavers."""

    ns: float
    rel_iqr: float


class Kernel:
    """Square roots of the same 32 KiB of numbers, over and over.

    It stays in the first cache, so it waits for the core and not for memory that others use. One
    call gives the best of several short runs, in CPU time of this thread: a neighbour that takes
    the core away adds wall time only, and one that comes for a moment spoils some runs and not all.
    A lower frequency shows, for CPU time counts seconds and not cycles. What also shows is a
    neighbour that stays on the other thread of the same core: that slows a model as well.
    """

    def __init__(self, cpu_ns: Callable[[], int] = time.thread_time_ns) -> None:
        self._cpu_ns = cpu_ns
        self._numbers = np.linspace(1.0, 2.0, _NUMBERS)
        self._roots = np.empty_like(self._numbers)

    def __call__(self) -> int:
        """Return nanoseconds of the best run."""
        taken = []
        for _ in range(_BEST_OF):
            start = self._cpu_ns()
            for _ in range(_ROUNDS):
                np.sqrt(self._numbers, out=self._roots)
            taken.append(self._cpu_ns() - start)
        return min(taken)


def baseline(kernel: Callable[[], int]) -> Baseline:
    """Time the kernel often enough to know what is usual."""
    kernel()
    told = np.array([kernel() for _ in range(_BASELINE_OF)], dtype=np.float64)
    low, middle, high = np.percentile(told, [25, 50, 75])
    return Baseline(float(middle), float((high - low) / middle) if middle else 0.0)
