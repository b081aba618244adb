"""How often the rule that compares two variants errs, by simulation with the noise of a machine.

It times nothing itself: the noise is fitted to what `bench_aa --raw FOLDER` kept.

    python benchmarks/comparison_rule.py --pairs 10000 --out benchmarks/results/comparison_rule.json
    python benchmarks/comparison_rule.py --fit FOLDER
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from block_bootstrap import Blocked, median_ratios
from scipy.signal import lfilter

from edgetransfer.measure.speed.latency import RATIO_WITHIN, Samples, classify, estimate, half_width
from edgetransfer.measure.stats.intervals import percentile_bounds
from edgetransfer.transport.job import EFFORTS

if TYPE_CHECKING:
    from collections.abc import Iterable

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Noise:
    """What makes two equal calls take different times; standard deviations are of logarithms.

    Attributes:
        sample: within a block, `sample_ar` from one call to the next.
        tail: share of calls that something interrupts, and `tail_scale`, how much longer these
            take on average, over the median.
        block: of a round, for both variants, `block_ar` from round to round.
        turn: of one turn of one variant.
        process: of a process, for both variants.
        layout: of one variant in one process: where its memory came to lie.
        step: share of processes in which the clock frequency steps down for good, to `step_to`
            times the time.
    """

    sample: float = 0.02
    sample_ar: float = 0.3
    tail: float = 0.02
    tail_scale: float = 0.5
    block: float = 0.02
    block_ar: float = 0.7
    turn: float = 0.005
    process: float = 0.02
    layout: float = 0.005
    step: float = 0.1
    step_to: float = 1.25


@dataclass(frozen=True)
class Shape:
    """How many processes, at least and at most, blocks and calls a block."""

    fewest: int
    most: int
    blocks: int
    calls: int = 5


SHAPES = {
    name: Shape(effort.processes, effort.most, effort.plan.blocks)
    for name, effort in EFFORTS.items()
}


def autocorrelated(rng: np.random.Generator, shape: tuple[int, ...], ar: float) -> Array:
    """Return normal numbers of unit spread, correlated along the last axis."""
    steps = rng.standard_normal(shape, np.float32)
    steps[..., 1:] *= np.sqrt(1 - ar**2)
    return lfilter([1.0], [1.0, -ar], steps)


def draw(rng: np.random.Generator, noise: Noise, shape: Shape, ratio: float) -> Array:
    """Draw times [2, processes, blocks, calls]; the second variant takes 1 / ratio as long."""
    k, b, n = shape.most, shape.blocks, shape.calls
    common = noise.process * rng.normal(size=(k, 1)) + noise.block * autocorrelated(
        rng, (k, b), noise.block_ar
    )
    at = np.where(rng.random(k) < noise.step, rng.integers(0, 2 * b, size=k), 2 * b)
    sides = []
    for side, scale in enumerate((1.0, 1.0 / ratio)):
        turns = 2 * np.arange(b) + side  # the step may fall between the two turns of a round
        stepped = np.where(turns >= at[:, None], np.log(noise.step_to), 0.0)
        own = noise.layout * rng.normal(size=(k, 1)) + noise.turn * rng.normal(size=(k, b))
        calls = noise.sample * autocorrelated(rng, (k, b, n), noise.sample_ar)
        taken = 5e6 * scale * np.exp((common + stepped + own)[..., None] + calls)
        late = rng.random((k, b, n), np.float32) < noise.tail
        taken[late] *= 1 + rng.exponential(noise.tail_scale, np.count_nonzero(late))
        sides.append(taken)
    return np.stack(sides)


def as_samples(times: Array) -> list[Samples]:
    """Return both variants' times as the package holds them."""
    _, k, b, n = times.shape
    process, block = np.repeat(np.arange(k), b * n), np.tile(np.repeat(np.arange(b), n), k)
    walls = (side.astype(np.int64).ravel() for side in times)
    return [Samples(process, block, wall, wall) for wall in walls]


def new_rule(times: Array, fewest: int) -> str:
    """Judge as the package does: processes are added until the interval is narrow."""
    logs = np.log(np.median(times, axis=-1))
    each = np.median(logs[0] - logs[1], axis=-1)
    for count in range(fewest, len(each) + 1):
        found = estimate(each[:count])
        assert found.ci95 is not None  # two processes at least
        if half_width(found.ci95, found.ratio) <= RATIO_WITHIN:
            break
    return classify(found.ci95)


def old_rule(times: Array, seed: int, resamples: int = 300) -> str:
    """Judge as before `etb-1`: bootstrap of paired blocks, whatever their process."""
    _, k, b, n = times.shape
    block = np.repeat(np.arange(k * b), n)
    sides = [Blocked(side.ravel(), block) for side in times]
    draws = median_ratios(*sides, k * b, seed=seed, resamples=resamples)
    return classify(percentile_bounds(draws, 0.95))


def shares(found: Iterable[str]) -> dict[str, float]:
    """Return how often each class was said."""
    classes = list(found)
    return {each: classes.count(each) / len(classes) for each in sorted(set(classes))}


def judged(
    noise: Noise, shape: Shape, ratio: float, pairs: int, *, before: bool = False
) -> dict[str, float]:
    """Draw pairs and return how often each class was said of them."""
    rng = np.random.default_rng(20)
    sides = (draw(rng, noise, shape, ratio) for _ in range(pairs))
    if before:
        return shares(old_rule(each, seed) for seed, each in enumerate(sides))
    return shares(new_rule(each, shape.fewest) for each in sides)


def fit(folder: Path, column: int) -> Noise:
    """Estimate the noise of a machine from runs of a variant against itself.

    Args:
        folder: what `bench_aa --raw` kept.
        column: 2 for wall time, 3 for CPU time.
    """
    runs = [np.load(file) for file in sorted(folder.glob("*.npz"))]
    within, ar, tails, excess, turn, layout, rounds, processes = ([] for _ in range(8))
    for run in runs:
        logs = {name: medians(run[name], column) for name in ("original", "itself")}
        shared = sorted(logs["original"].keys() & logs["itself"].keys())
        for name in logs:
            for key in shared:
                own = run[name]
                wall = own[(own[:, 0] == key[0]) & (own[:, 1] == key[1]), column].astype(float)
                rest = np.log(wall) - np.log(np.median(wall))
                spread = 1.4826 * np.median(np.abs(rest))
                calm = np.clip(rest, -3 * spread, 3 * spread)
                within.append(spread)
                ar.append((calm[:-1] @ calm[1:], calm @ calm))
                late = rest > max(3 * spread, 0.1)
                tails.append(late.mean())
                excess += (np.exp(rest[late]) - 1).tolist()
        gaps = {key: logs["original"][key] - logs["itself"][key] for key in shared}
        both = {key: (logs["original"][key] + logs["itself"][key]) / 2 for key in shared}
        numbers = sorted({key[0] for key in shared})
        of = {p: np.array([gaps[key] for key in shared if key[0] == p]) for p in numbers}
        level = {p: np.array([both[key] for key in shared if key[0] == p]) for p in numbers}
        own_turn = [robust(values) / np.sqrt(2) for values in of.values() if len(values) > 2]
        turn += own_turn
        rounds += [robust(values) for values in level.values() if len(values) > 2]
        seen = np.var([np.median(v) for v in of.values()], ddof=1) / 2
        blocks = np.mean([len(v) for v in of.values()])
        by_chance = np.pi / 2 * np.median(own_turn) ** 2 / blocks  # a median of normal numbers
        layout.append(max(0.0, seen - by_chance))
        processes.append(np.var([np.median(v) for v in level.values()], ddof=1))
    return Noise(
        sample=round(float(np.median(within)), 4),
        sample_ar=round(max(0.0, float(np.divide(*np.sum(ar, axis=0)))), 2),
        tail=round(float(np.mean(tails)), 4),
        tail_scale=round(float(np.mean(excess)) if excess else 0.0, 2),
        block=round(float(np.median(rounds)), 4),
        turn=round(float(np.median(turn)), 4),
        process=round(float(np.sqrt(np.mean(processes))), 4),
        layout=round(float(np.sqrt(np.mean(layout))), 4),
    )


def robust(values: Array) -> float:
    """Standard deviation by the median absolute deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def medians(table: Array, column: int) -> dict[tuple[int, int], float]:
    """Return the logarithm of the median of each undisturbed block."""
    calm = table[table[:, 4] == 0]
    found = {}
    for process, block in np.unique(calm[:, :2], axis=0):
        own = calm[(calm[:, 0] == process) & (calm[:, 1] == block), column]
        found[int(process), int(block)] = float(np.log(np.median(own)))
    return found


NOISES = {
    "board": Noise(),
    "machine": Noise(0.0203, 0.18, 0.0194, 0.24, 0.0449, 0.7, 0.022, 0.1026, 0.0065, 0.1, 1.25),
    "busy machine": Noise(0.154, 0.51, 0.09, 2.53, 0.08, 0.7, 0.0285, 0.138, 0.0243, 0.1, 1.25),
    "board, large layout": replace(Noise(), layout=0.03),
}
"""`machine` is what `--fit` says of the wall times of `bench_aa` on a shared virtual machine of two
cores, its steps apart; `busy machine` of a build's there, of networks of 0.5 and 1 ms with turns of
50 ms, at a load of 4 to 6; `board` is assumed."""


def main() -> None:
    """Run, print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument(
        "--judged", nargs="+", default=["board", "machine"], help="noises of the bar"
    )
    parser.add_argument("--efforts", nargs="+", choices=list(SHAPES), default=["standard"])
    parser.add_argument("--before", type=int, default=300, help="pairs for the rule before")
    parser.add_argument("--fit", type=Path, help="folder of raw samples: print its noise")
    parser.add_argument("--noise", type=Path, help="what --fit printed: its CPU noise too")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.fit is not None:
        print(json.dumps({"wall": asdict(fit(asked.fit, 2)), "cpu": asdict(fit(asked.fit, 3))}))
        return
    noises = dict(NOISES)
    if asked.noise is not None:
        noises["measured"] = Noise(**json.loads(asked.noise.read_text(encoding="utf-8"))["cpu"])
    rows = []
    cases = [(n, e, r) for r in (1.0, 1.0 / 1.05, 1.02) for e in asked.efforts for n in noises]
    for name, effort, ratio in cases:
        noise, shape = noises[name], SHAPES[effort]
        pairs = asked.pairs if name in asked.judged and ratio < 1.01 else asked.pairs // 10
        row: dict[str, Any] = {
            "noise": name,
            "effort": effort,
            "ratio": round(ratio, 4),
            "pairs": pairs,
        }
        row["now"] = judged(noise, shape, ratio, pairs)
        if asked.before:
            row["before"] = judged(noise, shape, ratio, asked.before, before=True)
        rows.append(row)
        print(json.dumps(row), flush=True)
    result = {
        "pairs": asked.pairs,
        "pairs_before": asked.before,
        "noises": {name: asdict(noise) for name, noise in noises.items()},
        "rows": rows,
    }
    if asked.out is not None:
        asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
