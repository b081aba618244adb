"""What each stage of a build takes on this machine, from an empty cache, in fresh processes.

Usage: stages.py [--runs 3] NAME build DATA [OPTIONS]...

The medians of all runs go into ``results/stages.json`` under NAME, beside what other names have
there: seconds of the whole command, as a user waits, and seconds, CPU seconds and peak memory of
every stage in the order it was entered. A stage that enters another counts its time too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts

RESULT = Path(__file__).parent / "results" / "stages.json"
WORK = ("task", "kind", "examples", "network_bytes", "fit", "targets")
"""What `edgetransfer.pipeline.cost` scales these seconds by, to estimate those of other builds."""
COSTS = ("seconds", "cpu_seconds", "peak_memory_mib")


def one(words: list[str]) -> tuple[float, dict[str, Any], dict[str, Any]]:
    """Run the command once; return its seconds, what ``run.json`` says, and the first report."""
    with tempfile.TemporaryDirectory() as name:
        more = ["--out", f"{name}/out", "--cache", f"{name}/cache"]
        start = time.monotonic()
        program = [sys.executable, "-m", "edgetransfer", *words, *more]
        subprocess.run(program, check=False, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        run = json.loads(Path(name, "out", "run.json").read_text())
        (folder, *_) = (each["folder"] for each in run["targets"].values())
        report = json.loads(Path(name, "out", folder, "report.json").read_text())
        (kept,) = json.loads(Path(name, "cache", "builds.json").read_text())["builds"]
        return seconds, {**run, "work": kept}, report


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("name")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    words = asked.command
    load = os.getloadavg()[0]
    runs = [one(words) for _ in range(asked.runs)]
    stages = []
    for place, stage in enumerate(runs[0][1]["stages"]):
        costs = [run["stages"][place] for _, run, _ in runs]
        row = {each: round(median(cost[each] for cost in costs), 2) for each in COSTS}
        stages.append({"stage": stage["stage"], **row})
        print(f"{stage['stage']:20} " + "".join(f"{row[each]:10.1f}" for each in COSTS))
    work = {key: runs[0][1]["work"][key] for key in WORK}
    record = {
        "command": " ".join(words),
        **work,
        "seconds": round(median(seconds for seconds, _, _ in runs), 1),
        "each": [round(seconds, 1) for seconds, _, _ in runs],
        "stages": stages,
        "verdicts": [report["verdict"] for _, _, report in runs],
        "flips": [report["agreement"]["flips"] for _, _, report in runs],
        "sqnr_db": [report["numeric"]["sqnr_db"] for _, _, report in runs],
        "n": runs[0][2]["accuracy"]["n"],
        "date": datetime.now(UTC).date().isoformat(),
        "load_average": round(load, 2),
        "environment": fingerprint(runtime_facts()),
    }
    print(f"{record['seconds']} s", record["verdicts"], record["flips"], record["sqnr_db"])
    kept = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
    RESULT.write_text(json.dumps({**kept, asked.name: record}, indent=1) + "\n")


if __name__ == "__main__":
    main()
