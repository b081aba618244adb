"""Exports a classifier in transformers layout with optimum, where torch's exporter refuses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from edgetransfer.errors import MissingExtraError, StageError

_OPSET = "18"
"""The oldest that devices are sent; optimum's patches know few newer ones."""
_LONGEST_S = 1800
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception): ")


def export(folder: Path, modality: Literal["image", "text"], into: Path) -> Path:
    """Write the whole classifier as ONNX, in a process of its own: optimum patches transformers.

    The folder has config.json, weights and whatever else transformers wants; the weights are in the
    ONNX file returned, or beside it. MissingExtraError without optimum's exporter, StageError where
    it cannot export the network either.
    """
    if not _installed():
        raise MissingExtraError("optimum-onnx", "optimum", purpose="exporting with optimum")
    task = "image-classification" if modality == "image" else "text-classification"
    asked = ["--model", str(folder), "--task", task, "--opset", _OPSET, str(into)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "optimum.exporters.onnx", *asked],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"not done after {_LONGEST_S // 60} minutes"
    file = into / "model.onnx"
    if not file.is_file():
        raise StageError(
            "optimum could not export the network", where="trace", found=_reason(said)[:300]
        )
    return file


def _reason(said: str) -> str:
    """Return the line that names the exception, else the last."""
    lines = said.strip().splitlines() or ["nothing"]
    return next((line for line in reversed(lines) if _EXCEPTION.match(line)), lines[-1])


def _installed() -> bool:
    try:
        return find_spec("optimum.exporters.onnx") is not None
    except ModuleNotFoundError:
        return False
