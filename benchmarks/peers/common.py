"""What every peer does: read a job from a folder, time the work, leave a record.

A peer is run as ``python peers/NAME.py FOLDER`` by the Python of its own environment. FOLDER holds
``job.json``: ``float`` (an ONNX file), ``calibration`` (a .npy file, one example a row), ``out``
(the file to write) and ``options``. The peer leaves ``made.json``: seconds of wall and CPU time of
the work without imports, and the versions that did it.
"""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
"""None makes the import fail, as where it is not installed, and OpenVINO then tells nobody."""


class Rows:
    """Feeds the calibration rows one at a time, as ONNX Runtime's calibrators ask for them."""

    def __init__(self, name: str, file: str) -> None:
        self._name = name
        self._rows = np.load(file, mmap_mode="r", allow_pickle=False)
        self._next = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
        return (self._row(index) for index in range(len(self)))

    def _row(self, index: int) -> dict[str, np.ndarray[Any, Any]]:
        return {self._name: np.ascontiguousarray(self._rows[index : index + 1])}

    def get_next(self) -> dict[str, np.ndarray[Any, Any]] | None:
        """Return the next row, or None behind the last one."""
        if self._next == len(self):
            return None
        self._next += 1
        return self._row(self._next - 1)


def job() -> dict[str, Any]:
    """Return the job in the folder that the only argument names."""
    text = (Path(sys.argv[1]) / "job.json").read_text(encoding="utf-8")
    read: dict[str, Any] = json.loads(text)
    return read


def versions(*names: str) -> dict[str, str]:
    """Return the installed versions of distributions, without those that are not there."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def record(fields: dict[str, Any]) -> None:
    """Leave what came of the job."""
    target = Path(sys.argv[1]) / "made.json"
    target.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")


def timed(work: Callable[[dict[str, Any]], None], *distributions: str) -> None:
    """Do the job and record how long that took."""
    asked = job()
    wall, cpu = time.perf_counter(), time.process_time()
    work(asked)
    record({
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "versions": versions(*distributions),
    })  # fmt: skip
