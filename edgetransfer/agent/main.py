"""Does one job, given as a JSON file, and tells of it in JSON lines on standard output."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any, Dict, Mapping

from edgetransfer.agent import benchmark, machine
from edgetransfer.agent.examples import ExampleFiles
from edgetransfer.agent.outputs import OutputFiles
from edgetransfer.agent.runtimes import Session, open_session, other_runtimes
from edgetransfer.agent.system import held_mib, peak_mib, read_text, reset_peak

SCHEMA = "edgetransfer.job/1"
_REPEATED = 32
"""Examples run twice to see whether the runtime repeats itself bit by bit."""


def emit(event: str, **fields: object) -> None:
    """Write one line of the protocol."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def _open(variant: Mapping[str, Any]) -> Session:
    def tell(phase: str, done: int, total: int) -> None:
        emit("progress", phase=phase, done=done, total=total)

    return open_session(variant, tell)


def _digest(path: str) -> str:
    """Return the SHA-256 of a file as it lies here."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _outputs(job: Mapping[str, Any]) -> Dict[str, object]:
    (variant,) = job["variants"]
    examples = ExampleFiles(variant["inputs"], variant.get("batch", 1))
    first_example = examples[0]
    before = held_mib("VmRSS")
    peak_is_own = reset_peak()
    start = time.perf_counter_ns()
    session = _open(variant)
    loaded = time.perf_counter_ns()
    given = session.run(first_example)
    first = time.perf_counter_ns()
    after = held_mib("VmRSS")
    few = [given]
    with OutputFiles(Path(job["out"]), given, examples.total) as files:
        for index in range(1, len(examples)):
            given = session.run(examples[index])
            files.write(given)
            if index < _REPEATED:
                few.append(given)
            emit("progress", done=index + 1, total=len(examples))
    peak = peak_mib()
    proportional = held_mib("Pss", "/proc/self/smaps_rollup")  # shared pages count by share
    again = [session.run(examples[i]) for i in range(len(few))]
    same = (a.tobytes() == b.tobytes() for pair in zip(few, again) for a, b in zip(*pair))
    return {
        "outputs": session.output_names,
        "session": dict(session.facts),
        "built_ms": session.built_ms,
        "load_ms": (loaded - start) / 1e6 - session.built_ms,
        "first_inference_ms": (first - loaded) / 1e6,
        "resident_before_mib": before,
        "resident_after_mib": after,
        "peak_mib": peak,
        "proportional_mib": proportional,
        "peak_is_own": peak_is_own,
        "deterministic": all(same),
        "repeated": len(again),
        "model": {"sha256": _digest(variant["model"]), **session.ports()},
    }


def _benchmark(job: Mapping[str, Any]) -> Dict[str, object]:
    def tell(done: int, total: int) -> None:
        emit("progress", done=done, total=total)

    return benchmark.ACTIONS[job["action"]](job, _open, tell)


def _optimise(job: Mapping[str, Any]) -> Dict[str, object]:
    (variant,) = job["variants"]
    _open(variant)
    return {}


def _describe(job: Mapping[str, Any]) -> Dict[str, object]:
    from edgetransfer.agent import environment
    from edgetransfer.agent.runtimes import onnxruntime

    tried = onnxruntime.try_import()
    told = {} if tried["loads"] is False else onnxruntime.build()
    others = {"other_runtimes": other_runtimes()}
    known = {"import": tried, "runtime": None, **told, **others}
    takes = {**onnxruntime.takes(), **others, **environment.room_left()} if told else None
    return {"environment": environment.fingerprint(known), "capabilities": takes}


ACTIONS = {
    "outputs": _outputs,
    **dict.fromkeys(benchmark.ACTIONS, _benchmark),
    "optimise": _optimise,
    "describe": _describe,
}


def main(argv: list[str]) -> int:
    """Do the job in the file named by the only argument; return the exit code."""
    if len(argv) != 1:
        sys.stderr.write("usage: agent.pyz JOB.json\n")
        return 2
    job = json.loads(Path(argv[0]).read_text(encoding="utf-8"))
    if job.get("schema") != SCHEMA or job.get("action") not in ACTIONS:
        sys.stderr.write(
            "%s: not a job of this agent: found schema %r, action %r; expected %r and one of %s\n"
            % (argv[0], job.get("schema"), job.get("action"), SCHEMA, ", ".join(sorted(ACTIONS)))
        )
        return 2
    emulator = machine.emulator(read_text)
    if job["action"] in benchmark.ACTIONS and emulator:
        sys.stderr.write(
            "%s: no times are taken on an emulated processor: they say nothing of any device "
            "(found %s)\n" % (argv[0], emulator)
        )
        return 2
    emit("result", **ACTIONS[job["action"]](job))
    return 0
