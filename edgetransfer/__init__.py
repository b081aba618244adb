"""Fit, quantise, export and measure small models for edge devices."""

import os

# Read by ONNX Runtime when it loads, whoever imports it first; see `edgetransfer.agent`.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
