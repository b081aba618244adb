"""Times a network against itself and against one with 5 % more work, and tells how it was judged.

It does not say how fast anything is: it says whether the protocol can be believed on this machine.

    python benchmarks/bench_aa.py --timing standard --runs 10
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from timed_models import CHANNELS, SIDE, convolutions, inputs

from edgetransfer.measure.speed.latency import speedup, summarise
from edgetransfer.measure.speed.validity import disturbed_turns, violations
from edgetransfer.pipeline.bench.times import TimesTaken, take
from edgetransfer.transport.job import EFFORTS, Variant
from edgetransfer.transport.local import Local

LAYERS = 20
NAMES = ("original", "itself", "slower")


def main() -> None:
    """Run, print and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--timing", choices=list(EFFORTS), default="standard")
    parser.add_argument("--raw", type=Path, help="folder that keeps every sample")
    parser.add_argument("--out", type=Path, help="JSON file of the result")
    asked = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        room = Path(name)
        files = {"x": inputs(room / "x.npy", [1, CHANNELS, SIDE, SIDE])}
        models = {
            each: convolutions(room / f"{each}.onnx", LAYERS + (each == "slower")) for each in NAMES
        }
        variants = [Variant(each, str(model), files) for each, model in models.items()]
        for run in range(asked.runs):
            taken = take(Local(), variants, EFFORTS[asked.timing], 100 * run, room)
            if asked.raw is not None:
                asked.raw.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(asked.raw / f"{run}.npz", **taken.tables)
            rows.append(judged(taken))
            print(json.dumps(rows[-1]), flush=True)
    result = {"timing": asked.timing, "cores": os.cpu_count(), **summary(rows), "runs": rows}
    print(told(result))
    if asked.out is not None:
        asked.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def judged(taken: TimesTaken) -> dict[str, Any]:
    """Return what the rule says of one run, and how noisy the machine was."""
    samples = taken.samples()
    original = summarise(samples["original"])
    turns, disturbed = disturbed_turns(taken.record)
    row: dict[str, Any] = {
        "processes": original.processes,
        "p50_ms": original.p50_ms,
        "rel_iqr": original.rel_iqr,
        "between_process_cv": original.between_process_cv,
        "turns": turns,
        "disturbed": disturbed,
        "load": os.getloadavg()[0],
        "violations": violations(taken.record),
    }
    for other in ("itself", "slower"):
        found = speedup(samples["original"], samples[other])
        for clock, ratio in (("wall", found.wall), ("cpu", found.cpu)):
            row[f"{other}_{clock}"] = [ratio.speed, ratio.ratio, ratio.ci95]
    return row


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Count the classes over all runs."""
    keys = [f"{other}_{clock}" for other in ("itself", "slower") for clock in ("wall", "cpu")]
    return {key: dict(Counter(row[key][0] for row in rows)) for key in keys}


def told(result: dict[str, Any]) -> str:
    """Return the result in words."""
    rows = result["runs"]
    count = len(rows)
    lines = []
    for clock in ("wall", "cpu"):
        calm = sum(result[f"itself_{clock}"].get(key, 0) for key in ("SAME", "UNDECIDED"))
        found = result[f"slower_{clock}"].get("SLOWER", 0)
        lines.append(f"{clock}: itself SAME or UNDECIDED {calm} of {count}; +5 % found {found}")

    def middle(key: str) -> float:
        return float(np.median([row[key] for row in rows]))

    turns, disturbed = sum(r["turns"] for r in rows), sum(r["disturbed"] for r in rows)
    lines.append(
        f"noise: rel. IQR {100 * middle('rel_iqr'):.1f} %, between processes "
        f"{100 * middle('between_process_cv'):.2f} %, disturbed {disturbed} of {turns} turns, "
        f"load {middle('load'):.1f} on {result['cores']} cores, "
        f"{sum(bool(row['violations']) for row in rows)} of {count} runs not valid"
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
