"""Reads what TensorRT's inspector says of the layers of an engine."""

from __future__ import annotations

import re
from typing import Any, Dict, Iterator, Mapping, Optional

_KINDS = (
    ("convolution", ("convolution", "correlation")),
    ("gemm", ("gemm", "matrix_multiply", "matrixmultiply")),
)
"""How versions call what multiplies by weights, by the layer's type."""
_FUSED = ("myelin", "kgen", "runtime_fusion", "foreignnode")
"""Types of layers that were made of several: what is inside, their names say."""
_INSIDE = (("convolution", re.compile("Conv(?!e)")), ("gemm", re.compile("Fc|Gemm|MatMul")))
_TYPES = (("int8", "int8"), ("half", "fp16"), ("fp16", "fp16"), ("bf16", "bf16"), ("fp8", "fp8"))


def layers(told: Mapping[str, Any]) -> Iterator[Dict[str, str]]:
    """Yield what multiplies by weights in an engine, as `runtimes` describes it.

    Told are ``{"Layers": [...]}``, each layer with its tensors' types (profiling verbosity
    ``DETAILED``); where names alone were kept, every layer counts, as unknown.
    """
    for layer in told["Layers"]:
        details = {"Name": layer} if isinstance(layer, str) else layer
        kind = _kind(details)
        if kind is not None:
            name = str(details.get("Name", ""))
            yield {"kind": kind, "name": name, "type": _type_of(details)}


def _kind(layer: Mapping[str, Any]) -> Optional[str]:
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
