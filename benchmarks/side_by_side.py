"""Times ONNX files side by side on a bare machine that has onnxruntime, numpy and scipy, no more.

It is for a machine that is lent for minutes: the packed agent of a bundle does the work, and
nothing of the package is needed there. Every file is held against every later one.

    python benchmarks/side_by_side.py AGENT.pyz INPUTS.npy FLOAT.onnx PEER.onnx OURS.onnx

The agent is `measure/agent.pyz` of a bundle.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from scipy.special import stdtrit

PLAN = {"blocks": 40, "block_s": 0.0125, "warmup_s": 0.3, "warmup_max_s": 3.0}
WALL, CPU = 1, 2
FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")

Tables = dict[str, np.ndarray[Any, Any]]


def job(models: list[Path], inputs: Path, out: Path, seed: int) -> dict[str, Any]:
    """Return what the agent is told: see `edgetransfer.transport.job`."""
    fixed = {
        "threads": 1,
        "config": {},
        "provider": "CPUExecutionProvider",
        "runtime": "onnxruntime",
    }
    return {
        "schema": "edgetransfer.job/1",
        "action": "time",
        "out": str(out),
        "variants": [
            {"name": m.stem, "model": str(m), "inputs": {input_of(m): str(inputs)}, **fixed}
            for m in models
        ],
        "plan": PLAN,
        "seed": seed,
        "guard": {"cooldown_s": 1.0, "baseline_ns": None},
    }


def input_of(model: Path) -> str:
    """Return the name of the only input."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return str(session.get_inputs()[0].name)


def tables(agent: Path, told: dict[str, Any]) -> Tables:
    """Time all variants in one fresh process."""
    out = Path(told["out"])
    (out / "job.json").write_text(json.dumps(told), encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    words = [sys.executable, str(agent), str(out / "job.json")]
    subprocess.run(words, check=True, env=environment, stdout=subprocess.DEVNULL)
    return {each["name"]: np.load(out / f"{each['name']}.npy") for each in told["variants"]}


def log_ratio(above: np.ndarray[Any, Any], below: np.ndarray[Any, Any], clock: int) -> float:
    """Return the median over shared blocks of the logarithm of the ratio of their medians."""
    shared = np.intersect1d(above[:, 0], below[:, 0])
    sides = [
        [np.log(np.median(side[side[:, 0] == block, clock])) for block in shared]
        for side in (above, below)
    ]
    return float(np.median(np.subtract(*sides)))


def interval(values: list[float]) -> list[float]:
    """Return a ratio and Student's 95 % interval of it over the processes."""
    mean, count = np.mean(values), len(values)
    reach = stdtrit(count - 1, 0.975) * np.std(values, ddof=1) / np.sqrt(count)
    return [round(float(np.exp(each)), 4) for each in (mean, mean - reach, mean + reach)]


def processor() -> dict[str, Any]:
    """Return name and flags of the processor, by Linux."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    told = {line.split(":")[0].strip(): line.partition(":")[2].strip() for line in lines if line}
    flags = told.get("flags", told.get("Features", "")).split()
    return {"cpu": told.get("model name"), "isa": [each for each in FLAGS if each in flags]}


def main() -> None:
    """Print ratios and medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("agent", type=Path)
    parser.add_argument("inputs", type=Path, help=".npy of prepared examples, stacked")
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--processes", type=int, default=8)
    asked = parser.parse_args()
    taken: list[Tables] = []
    for seed in range(asked.processes):
        with tempfile.TemporaryDirectory() as name:
            told = job(asked.models, asked.inputs, Path(name), seed)
            taken.append(tables(asked.agent, told))
    names = [model.stem for model in asked.models]
    result: dict[str, Any] = {
        **processor(),
        "onnxruntime": onnxruntime.__version__,
        "processes": asked.processes,
        "p50_ms": {
            name: [round(float(np.median(each[name][:, WALL])) / 1e6, 3) for each in taken]
            for name in names
        },
    }
    for clock, column in (("wall", WALL), ("cpu", CPU)):
        result[clock] = {
            f"{first}/{second}": interval(
                [log_ratio(each[first], each[second], column) for each in taken]
            )
            for first, second in combinations(names, 2)
        }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
