"""Reads how a runtime laid a model out: its own graph, or what TensorRT's inspector says."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.graph.census import Residency, residency

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_KINDS = (
    ("convolution", ("convolution", "correlation")),
    ("gemm", ("gemm", "matrix_multiply", "matrixmultiply")),
)
"""How versions call what multiplies by weights, by the layer's type."""
_FUSED = ("myelin", "kgen", "runtime_fusion", "foreignnode")
"""Types of layers that were made of several: what is inside, their names say."""
_INSIDE = (("convolution", re.compile("Conv(?!e)")), ("gemm", re.compile("Fc|Gemm|MatMul")))
_TYPES = (("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp8", "fp8"))


def read_residency(file: Path) -> Residency:
    """Read the file that the agent's job ``optimise`` left: ONNX, or an inspector's JSON."""
    content = file.read_bytes()
    if content.lstrip()[:1] == b"{":
        return engine_residency(json.loads(content))
    return residency(onnx.load_from_string(content))


def engine_residency(told: Mapping[str, Any]) -> Residency:
    """Count the convolutions of an engine by the type that they compute in.

    Args:
        told: ``{"Layers": [...]}``, each layer with its tensors' types (profiling verbosity
            ``DETAILED``); where names alone were kept, every layer counts as unknown.
    """
    convolutions = {True: 0, False: 0}
    floats: list[str] = []
    for layer in told["Layers"]:
        details = {"Name": layer} if isinstance(layer, str) else layer
        kind, computes = _kind(details), _type_of(details)
        if kind is None:
            continue
        if kind == "convolution":
            convolutions[computes == "int8"] += 1
        if computes != "int8":
            floats.append(f"{kind} {details.get('Name', '')} ({computes})")
    return Residency(convolutions[False], convolutions[True], tuple(floats))


def _kind(layer: Mapping[str, Any]) -> str | None:
    """Return what a layer multiplies by, None where it does not."""
    name = str(layer.get("Name", ""))
    words = f"{layer.get('ParameterType', '')} {layer.get('LayerType', '')}".lower()
    if not words.strip():
        return "layer"
    for kind, called in _KINDS:
        if any(each in words for each in called):
            return kind
    if any(each in words for each in _FUSED):
        return next((kind for kind, inside in _INSIDE if inside.search(name)), None)
    return None


def _type_of(layer: Mapping[str, Any]) -> str:
    """Return the type that a layer computes in, which is that of what it takes."""
    taken = next(iter(layer.get("Inputs", ())), None)
    if not isinstance(taken, dict):
        return "unknown"
    words = str(taken.get("Format/Datatype", taken.get("Datatype", ""))).lower()
    return next((name for word, name in _TYPES if word in words), "fp32")
