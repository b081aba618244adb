"""Does one job, given as a JSON file, and tells of it in JSON lines on standard output.

Reads the memory of this process, and resets its high-water mark where the system allows.
"""

from __future__ import annotations

import hashlib
import json
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

import numpy as np

from edgetransfer.agent import machine
from edgetransfer.agent.examples import ExampleFiles
from edgetransfer.agent.runtimes import open_session, other_runtimes
from edgetransfer.agent.system import read_text

if TYPE_CHECKING:
    from edgetransfer.agent.session import Session


def _kib(field: str, file: str = "/proc/self/status") -> Optional[int]:
    try:
        for line in Path(file).read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def resident_mib() -> Optional[float]:
    """Return the memory this process holds now in MiB, or None where it is not told."""
    kib = _kib("VmRSS")
    return None if kib is None else kib / 1024


def proportional_mib() -> Optional[float]:
    """Return the memory held now in MiB, what is shared counted by the share, None if not told."""
    kib = _kib("Pss", "/proc/self/smaps_rollup")
    return None if kib is None else kib / 1024


def reset_peak() -> bool:
    """Start the high-water mark afresh (Linux, unprivileged); return whether that worked."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def peak_mib() -> float:
    """Return the most memory this process has held, in MiB, since start or `reset_peak`."""
    kib = _kib("VmHWM")
    if kib is not None:
        return kib / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1024 * 1024 if sys.platform == "darwin" else 1024)


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


class _Rows:
    """Writes rows of logits to one .npy file as they come: they would count as the model's memory.

    Args:
        file: what is written, float32.
        first: logits of the first batch, which are written.
        examples: says how many rows there will be.
    """

    def __init__(self, file: Path, first: np.ndarray[Any, Any], examples: ExampleFiles) -> None:
        self._left = examples.total
        self._file = file.open("wb")
        header = {"descr": "<f4", "fortran_order": False, "shape": (self._left, *first.shape[1:])}
        np.lib.format.write_array_header_1_0(self._file, header)
        self.write(first)

    def __enter__(self) -> _Rows:
        return self

    def write(self, rows: np.ndarray[Any, Any]) -> None:
        """Write the logits of one batch."""
        self._left -= len(rows)
        self._file.write(rows.astype("<f4").tobytes())

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._left:
            raise ValueError("the model gives another number of rows than it takes examples")


def _logits(job: Mapping[str, Any]) -> Dict[str, object]:
    (variant,) = job["variants"]
    examples = ExampleFiles(variant["inputs"], variant.get("batch", 1))
    first_example = examples[0]
    before = resident_mib()
    peak_is_own = reset_peak()
    start = time.perf_counter_ns()
    session = _open(variant)
    loaded = time.perf_counter_ns()
    row = session.run(first_example)[0]
    first = time.perf_counter_ns()
    after = resident_mib()
    few = [row]
    with _Rows(Path(job["out"]) / "logits.npy", row, examples) as rows:
        for index in range(1, len(examples)):
            row = session.run(examples[index])[0]
            rows.write(row)
            if index < _REPEATED:
                few.append(row)
            emit("progress", done=index + 1, total=len(examples))
    peak = peak_mib()
    proportional = proportional_mib()
    again = [session.run(examples[i])[0] for i in range(len(few))]
    return {
        "session": dict(session.facts),
        "built_ms": session.built_ms,
        "load_ms": (loaded - start) / 1e6 - session.built_ms,
        "first_inference_ms": (first - loaded) / 1e6,
        "resident_before_mib": before,
        "resident_after_mib": after,
        "peak_mib": peak,
        "proportional_mib": proportional,
        "peak_is_own": peak_is_own,
        "deterministic": all(a.tobytes() == b.tobytes() for a, b in zip(few, again)),
        "repeated": len(again),
        "model": {"sha256": _digest(variant["model"]), **session.ports()},
    }


def _time(job: Mapping[str, Any]) -> Dict[str, object]:
    from edgetransfer.agent import benchmark

    return benchmark.time_variants(job, _open)


def _sustain(job: Mapping[str, Any]) -> Dict[str, object]:
    from edgetransfer.agent import benchmark

    def tell(done: int, total: int) -> None:
        emit("progress", done=done, total=total)

    return benchmark.sustain_variant(job, _open, tell)


def _energy(job: Mapping[str, Any]) -> Dict[str, object]:
    from edgetransfer.agent import benchmark

    return benchmark.measure_energy(job, _open)


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
    "logits": _logits,
    "time": _time,
    "sustain": _sustain,
    "energy": _energy,
    "optimise": _optimise,
    "describe": _describe,
}
TIMED = frozenset(["time", "sustain", "energy"])
"""Actions whose result depends on the speed of the processor."""


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
    if job["action"] in TIMED and emulator:
        sys.stderr.write(
            "%s: no times are taken on an emulated processor: they say nothing of any device "
            "(found %s)\n" % (argv[0], emulator)
        )
        return 2
    emit("result", **ACTIONS[job["action"]](job))
    return 0
