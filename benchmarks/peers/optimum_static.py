"""optimum-onnx: `ORTQuantizer` with its static avx512_vnni configuration and min-max ranges."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import common
import numpy as np
import onnx
from onnxruntime.quantization import CalibrationMethod
from optimum.onnxruntime import AutoQuantizationConfig, ORTQuantizer
from optimum.onnxruntime.configuration import CalibrationConfig


def quantise(job: dict[str, Any]) -> None:
    """Calibrate and quantise as optimum's documentation does."""
    model = Path(job["float"])
    quantiser = ORTQuantizer(model)
    scheme = AutoQuantizationConfig.avx512_vnni(is_static=True, **job["options"])
    name = onnx.load(model, load_external_data=False).graph.input[0].name
    rows = np.load(job["calibration"], mmap_mode="r", allow_pickle=False)
    examples = [{name: np.ascontiguousarray(row)} for row in rows]
    with tempfile.TemporaryDirectory() as folder:
        ranges = quantiser.fit(
            examples,
            CalibrationConfig("rows", "", "train", len(rows), CalibrationMethod.MinMax),
            Path(folder) / "augmented.onnx",
            operators_to_quantize=scheme.operators_to_quantize,
        )
        quantiser.quantize(scheme, folder, calibration_tensors_range=ranges)
        (made,) = Path(folder).glob("*_quantized.onnx")
        onnx.save(onnx.load(made), job["out"])


if __name__ == "__main__":
    common.timed(
        quantise, "optimum-onnx", "optimum", "transformers", "onnxruntime", "onnx", "numpy"
    )
