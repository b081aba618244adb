"""What the agent's timing adds to a call, against a bare loop around `session.run`.

Both run the same session and example in one process, call by call in random order, so that other
work on the machine meets both alike. Beside the medians stand the tenth percentiles: on a busy
machine half of the calls are interrupted, and the medians tell of that. `yielding` is the bare loop
with the CPU clock read before each, as the agent must: what that costs the call that follows is not
the loop of the agent, but the price of knowing CPU time at all.

    python benchmarks/agent_overhead.py [MODEL.onnx ...] [--out RESULT.json]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from timed_models import CHANNELS, SIDE, convolutions, inputs, product

from edgetransfer.agent.examples import ExampleFiles
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.agent.timing import REAL_CLOCK, cycled, timed

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS = 4000
SECONDS = 30.0
ALLOWED_SHARE, ALLOWED_US = 0.02, 5.0


def bare(run: Callable[[], object]) -> int:
    """Time a call with nothing but a clock before and after: the least that a loop can do."""
    start = time.perf_counter_ns()
    run()
    return time.perf_counter_ns() - start


def yielding(run: Callable[[], object]) -> int:
    """Time a call like `bare`, after a reading of the CPU clock."""
    time.process_time_ns()
    return bare(run)


def agents(run: Callable[[], object]) -> int:
    """Time a call as the agent does."""
    return timed(run, REAL_CLOCK)[0]


def overhead(model: Path, files: dict[str, str]) -> dict[str, Any]:
    """Compare both on one model."""
    session = OnnxSession(str(model))
    example = ExampleFiles(files)[0]
    cycle = cycled(session.run, [example])
    inner = session._session.run

    def plain() -> object:
        return inner(None, example)

    for _ in range(50):
        plain()
    order, end = random.Random(0), time.monotonic() + SECONDS
    sides: list[tuple[list[int], Callable[..., int], Callable[[], object]]] = [
        ([], bare, plain),
        ([], yielding, plain),
        ([], agents, cycle),
    ]
    for _ in range(CALLS):
        for taken, time_one, run in order.sample(sides, 3):
            taken.append(time_one(run))
        if time.monotonic() > end:
            break
    row: dict[str, Any] = {"model": model.name, "pairs": len(sides[0][0])}
    for name, p in (("p50", 50), ("p10", 10)):
        alone, yielded, added = (float(np.percentile(taken, p)) / 1e3 for taken, *_ in sides)
        allowed = max(ALLOWED_SHARE * alone, ALLOWED_US)
        row |= {
            f"{name}_bare_us": round(alone, 2),
            f"{name}_yielding_added_us": round(yielded - alone, 2),
            f"{name}_added_us": round(added - alone, 2),
            f"{name}_allowed_us": round(allowed, 2),
            f"{name}_within": added - alone <= allowed,
        }
    return row


def main() -> None:
    """Print one line a model, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", type=Path, nargs="*", metavar="MODEL.onnx")
    parser.add_argument("--out", type=Path, help="JSON file of the result")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        tiny, chain = product(room / "product.onnx"), convolutions(room / "chain.onnx", 20)
        cases = [
            (tiny, {"x": inputs(room / "a.npy", [1, 16])}),
            (chain, {"x": inputs(room / "b.npy", [1, CHANNELS, SIDE, SIDE])}),
        ]
        for number, model in enumerate(asked.models):
            session = OnnxSession(str(model))
            ((input_name, shape),) = session.input_shapes.items()
            fixed = [size if isinstance(size, int) else 1 for size in shape]
            cases.append((model, {input_name: inputs(room / f"{number}.npy", fixed)}))
        rows = []
        for model, files in cases:
            rows.append(overhead(model, files) | {"load": os.getloadavg()[0]})
            print(json.dumps(rows[-1]), flush=True)
    if asked.out is not None:
        result = {"cores": os.cpu_count(), "rows": rows}
        asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
