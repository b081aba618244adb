"""ONNX Runtime's own `quantize_static`; no option means its own defaults."""

from __future__ import annotations

from typing import Any

import common
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantType,
    quantize_static,
)

CalibrationDataReader.register(common.Rows)
_ENUMS = {
    "activation_type": QuantType,
    "weight_type": QuantType,
    "calibrate_method": CalibrationMethod,
}


def quantise(job: dict[str, Any]) -> None:
    """Quantise with the options of the job; enumerations are given by name."""
    model = onnx.shape_inference.infer_shapes(onnx.load(job["float"]))
    options = {
        key: _ENUMS[key][value] if key in _ENUMS else value for key, value in job["options"].items()
    }
    reader = common.Rows(model.graph.input[0].name, job["calibration"])
    quantize_static(model, job["out"], reader, **options)


if __name__ == "__main__":
    common.timed(quantise, "onnxruntime", "onnx", "numpy")
