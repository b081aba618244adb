"""Reads how a runtime laid a model out: its own graph, or what TensorRT's inspector says.

It does not open any runtime.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.graph.census import Residency, residency

if TYPE_CHECKING:
    from pathlib import Path

_HEAVY = ("convolution", "gemm", "matrix_multiply", "matrixmultiply")
_WORDS = (("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp8", "fp8"))


def read_residency(file: Path) -> Residency:
    """Read the file that the agent's job ``optimise`` left: ONNX, or an inspector's JSON."""
    content = file.read_bytes()
    if content.lstrip()[:1] == b"{":
        return engine_residency(json.loads(content))
    return residency(onnx.load_from_string(content))


def engine_residency(told: dict[str, Any]) -> Residency:
    """Count the convolutions of an engine by the type that they compute in.

    Layers that the builder fused beyond recognition (``Myelin``) are named among the floats: what
    runs inside them the inspector does not say.

    Args:
        told: ``{"Layers": [...]}``, each layer with its tensors' types (profiling verbosity
            ``DETAILED``).
    """
    convolutions = {"int8": 0, "other": 0}
    floats = []
    for layer in told["Layers"]:
        kind, name = _kind(layer), str(layer.get("Name", "?") if isinstance(layer, dict) else layer)
        if kind is None:
            continue
        computes = _type_of(layer)
        if kind == "convolution":
            convolutions["int8" if computes == "int8" else "other"] += 1
        if computes != "int8":
            floats.append(f"{kind} {name} ({computes})")
    return Residency(
        float_conv=convolutions["other"],
        int8_conv=convolutions["int8"],
        float_ops=tuple(floats),
    )


def _kind(layer: dict[str, Any] | str) -> str | None:
    """Return what a layer multiplies by, None where it does not."""
    if isinstance(layer, str):  # names alone: built without details
        return "layer"
    words = f"{layer.get('ParameterType', '')} {layer.get('LayerType', '')}".lower()
    if "myelin" in words or "kgen" in words:
        return "fused"
    return next((kind for kind in _HEAVY if kind in words), None)


def _type_of(layer: dict[str, Any] | str) -> str:
    """Return the type that a layer computes in: that of its weights, or of what it takes."""
    if isinstance(layer, str):
        return "unknown"
    taken = layer.get("Inputs") or [{}]
    first = taken[0].get("Format/Datatype", "") if isinstance(taken[0], dict) else ""
    words = (str(layer.get("Weights", {}).get("Type", "")) + " " + str(first)).lower()
    return next((name for word, name in _WORDS if word in words), "fp32")
