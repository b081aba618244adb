"""Post-training quantisers side by side: accuracy, noise, residency, CPU time, size, work.

Usage: python benchmarks/compression.py [--bundles FOLDER] [--candidate NAME=FILE] [--help]

One float network at a time is quantised by every method from the same 128 training pictures, judged
on the same test set and timed in one interleaved job, one thread. Peers whose pins conflict with
ours run in environments of their own, made on the first run from the lines in ``peers/*.txt``.
A peer that cannot be installed or fails is a row with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from compressing import cases, methods, table
from compressing.cases import Case, Makings, fitted_case, random_case
from compressing.envs import Environments, PeerError
from compressing.judging import Bench, Observed, beside_openvino
from compressing.making import Made, make_own, resolve
from compressing.rows import is_openvino, row

from edgetransfer.agent.environment import fingerprint
from edgetransfer.agent.runtimes.onnxruntime import build as runtime_facts
from edgetransfer.bundle.files import write_json

HERE = Path(__file__).parent
NAME = re.compile(r"[A-Za-z0-9_.-]+")
CANDIDATE = "an int8 ONNX file as a row more; {case} in FILE stands for the name of the case"
RESULT = HERE / "results" / "compression.json"


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--print", type=Path, metavar="JSON", help="print the tables of a finished run, and end")
    add("--out", type=Path, default=RESULT, help="where the results go")
    add("--bundles", type=Path, help="folder of DATA-BACKBONE-SEED bundles, instead of building")
    add("--cache", type=Path, help="edgetransfer's cache for what is built")
    add("--work", type=Path, default=HERE / ".work", help="where quantised files are kept")
    add("--venvs", type=Path, default=HERE / ".venvs", help="where peers are installed")
    add("--epochs", type=int, help="of fine-tuning at most, where a network is not built yet")
    add("--seeds", type=int, nargs="+", default=[0], help="seeds of the fine-tuned networks")
    add("--only", nargs="+", help="cases whose name holds one of these words")
    add("--methods", nargs="+", help="rows to make, by id; float and ort-u8s8 always are")
    add("--candidate", action="append", default=[], metavar="NAME=FILE", help=CANDIDATE)
    add("--keep", action="store_true", help="keep the other cases that --out holds already")
    add("--no-edgetransfer", action="store_true", help="leave `edgetransfer build` out")
    add("--timing", choices=("standard", "quick"), default="standard")
    asked = parser.parse_args()
    for candidate in asked.candidate:
        name, _, file = candidate.partition("=")
        if not file or not NAME.fullmatch(name) or name in methods.TAKEN:
            parser.error(f"--candidate {candidate}: expected NAME=FILE, a NAME of letters, digits, "
                         "'.', '_' and '-' that no row has")  # fmt: skip
    return asked


def brought_along(asked: argparse.Namespace, case: Case) -> dict[str, Made]:
    """Return the files that no peer makes: edgetransfer's own, and those on the command line."""
    brought: dict[str, Made] = {}
    if not asked.no_edgetransfer:
        wanted = [name for name in methods.OWN if not asked.methods or name in asked.methods]
        brought |= {name: make_own(name, case) for name in wanted}
    for candidate in asked.candidate:
        name, _, file = candidate.partition("=")
        path = Path(file.replace("{case}", case.name)).absolute()
        there = path.is_file()
        brought[name] = Made(path) if there else Made(None, f"there is no file {path}")
    return brought


def chosen_methods(asked: argparse.Namespace, brought: dict[str, Made]) -> list[methods.Method]:
    """Return the rows of a case, in the order of the table."""
    rows = [
        method
        for method in methods.METHODS
        if not asked.methods or method.id in methods.NEEDED or method.id in asked.methods
    ]
    for name in brought:
        asks = methods.OWN.get(name)
        rows += methods.extra(name, f"edgetransfer, precision {asks}" if asks else name)
    return rows


def openvino(makings: Makings) -> Path | None:
    """Return the interpreter of OpenVINO's environment, None where it cannot be installed."""
    try:
        return makings.environments.python("nncf")
    except PeerError:
        return None


def measure(asked: argparse.Namespace, case: Case, makings: Makings) -> dict[str, Any]:
    """Make, judge and time all rows of one case."""
    print(f"{case.name}", flush=True)
    brought = brought_along(asked, case)
    rows = chosen_methods(asked, brought)
    made = resolve(rows, case, makings.environments, brought)
    python = openvino(makings)
    bench = Bench(case, made, python, asked.timing)
    seen = {
        method.id: bench.observe(method)
        if made[method.id].file is not None
        else Observed(reason=made[method.id].reason)
        for method in rows
    }
    runnable = [method for method in rows if seen[method.id].logits is not None]
    print("  timing", flush=True)
    ours = bench.times([m for m in runnable if not is_openvino(m)], case.seed)
    beside = beside_openvino(runnable, list(brought))
    theirs = bench.times_beside_openvino(beside, case.seed) if python else ({}, "no OpenVINO")
    reference = seen[methods.FLOAT].logits if case.judged else None
    answers = np.load(case.folder / "answers.npy") if case.judged else None
    told = [
        row(m, made[m.id], seen[m.id], reference, answers, theirs if is_openvino(m) else ours)
        for m in rows
    ]
    return {
        "name": case.name, "judged": case.judged, "seed": case.seed,
        "n": len(np.load(case.rows, mmap_mode="r")), "calibration": cases.CALIBRATION,
        "load_average": round(os.getloadavg()[0], 2), "exported_by": case.exported_by(),
        "fit": case.fit(),
        "rows": told,
    }  # fmt: skip


def attempts(asked: argparse.Namespace) -> list[tuple[str, Any]]:
    """Return the name of each case with what makes it."""
    wanted: list[tuple[str, Any]] = []
    for seed in asked.seeds:
        for data in cases.DATA:
            for backbone in cases.BACKBONES:
                name = f"{data}-{backbone}-{seed}"
                wanted.append((name, lambda m, a=(data, backbone, seed): fitted_case(*a, m)))
    wanted += [(f"timm-{model}", lambda m, a=model: random_case(a, m)) for model in cases.TIMM]
    return [
        (name, make)
        for name, make in wanted
        if not asked.only or any(word in name for word in asked.only)
    ]


def versions_of(results: list[dict[str, Any]]) -> dict[str, str]:
    """Return the versions of everything that took part."""
    found = {name: version(name) for name in ("edgetransfer", "onnx", "onnxruntime", "numpy")}
    for case in results:
        for part in (case.get("exported_by", {}), *(r["made_by"] for r in case.get("rows", []))):
            found |= {k: v for k, v in part.items() if k not in found}
    return found


def today() -> str:
    """Return the date in UTC."""
    return datetime.now(UTC).date().isoformat()


def earlier_cases(asked: argparse.Namespace) -> dict[str, Any]:
    """Return the cases to keep by name: no ratio crosses two cases, so they may be of two runs."""
    if not asked.keep or not asked.out.is_file():
        return {}
    record = json.loads(asked.out.read_text(encoding="utf-8"))
    here, there = fingerprint(runtime_facts()), record["environment"]
    if any(here[each] != there[each] for each in ("cpu", "isa")):  # a name alone covers several
        raise SystemExit(f"{asked.out} is of another machine: --keep would mix the two")
    return {case["name"]: case for case in record["cases"]}


def in_order(name: str) -> tuple[int, str]:
    """Sort judged networks before those with random weights."""
    return int(name.startswith("timm-")), name


def main() -> None:
    """Measure every case, write the results after each, and print the tables."""
    asked = options()
    if asked.print:
        print(table.render(json.loads(asked.print.read_text(encoding="utf-8"))))
        return
    makings = Makings(
        asked.work.absolute(),
        asked.bundles,
        asked.cache,
        Environments(asked.venvs.absolute()),
        asked.epochs,
    )
    record: dict[str, Any] = {
        "schema": "edgetransfer.benchmark.compression/1",
        "date": today(),
        "environment": fingerprint(runtime_facts()),
        "versions": {},
    }
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    finished = earlier_cases(asked)
    for name, make in attempts(asked):
        try:
            told = measure(asked, make(makings), makings)
        except Exception as error:  # the other cases are worth their time
            told = {"name": name, "judged": not name.startswith("timm-"), "n": 0,
                    "calibration": cases.CALIBRATION, "reason": str(error)[:400]}  # fmt: skip
        finished[name] = {**told, "date": today(), "timing": asked.timing}
        record["cases"] = [finished[name] for name in sorted(finished, key=in_order)]
        record["versions"] = versions_of(record["cases"])
        write_json(asked.out, record)
    print(table.render(record))


if __name__ == "__main__":
    main()
