"""Our own post-training rung on the same rows as everyone: no build around it, no labels."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import common
import numpy as np
import onnx
import torch

from edgetransfer.compress.posttraining import CalibrationBatches, quantise
from edgetransfer.spec.catalogue import calibration_recipe
from edgetransfer.spec.memory import reused
from edgetransfer.spec.target import Int8Scheme

if TYPE_CHECKING:
    from collections.abc import Iterator

BATCH = 8


def quantise_own(job: dict[str, Any]) -> None:
    """Quantise as the rung does, with the ladder's recipe for ranges and channels equalised."""
    model = onnx.load(job["float"])
    name = model.graph.input[0].name
    rows = np.load(job["calibration"], mmap_mode="r", allow_pickle=False)

    def batches() -> Iterator[dict[str, torch.Tensor]]:
        for start in range(0, len(rows), BATCH):
            yield {name: torch.from_numpy(np.array(rows[start : start + BATCH]))}

    out = Path(job["out"])
    with tempfile.TemporaryDirectory(dir=out.parent) as room, reused():  # as every stage runs
        calibration = CalibrationBatches(batches, len(rows), Path(room))
        recipe = calibration_recipe("default")
        quantised = quantise(model, Int8Scheme(), recipe, calibration, **job["options"])
    onnx.save(quantised.graph(), out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    common.timed(quantise_own, "edgetransfer", "onnx", "torch", "numpy")
