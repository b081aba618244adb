"""What is compared: each method is a peer with its options, and the runtime of the file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from compressing.envs import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping

FLOAT = "float"
BASELINE = "ort-u8s8"
"""The second denominator of the time ratios: the best of ONNX Runtime's own recipes on x86."""
RUNG = "edgetransfer-rung"
"""Ours without a build around it: also for networks whose random weights judge nothing."""
ORT = "onnxruntime"
OPENVINO = "openvino"


@dataclass(frozen=True)
class Method:
    """One row of the table.

    Attributes:
        id: names its files and its row in the JSON.
        runtime: what runs the file.
        script: the peer that makes the file; empty where `source` already has it.
        environment: of the peer.
        options: for the peer.
        source: the row whose file is run, where this row makes none.
    """

    id: str
    title: str
    runtime: str = ORT
    script: str = ""
    environment: str = OURS
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


U8S8 = {
    "activation_type": "QUInt8",
    "weight_type": "QInt8",
    "per_channel": True,
    "extra_options": {"ActivationSymmetric": False, "WeightSymmetric": True},
}


def _ort(name: str, title: str, **options: object) -> Method:
    return Method(name, title, script="ort_static.py", options=options)


def _nncf(name: str, title: str, runtime: str, **options: object) -> Method:
    frontend = "onnx" if runtime == ORT else "openvino"
    return Method(
        name, title, runtime, "nncf_quantise.py", "nncf", {"frontend": frontend, **options}
    )


_ASYMMETRIC = {**U8S8["extra_options"], "CalibTensorRangeSymmetric": False}
METHODS = (
    Method(FLOAT, "float", source=FLOAT),
    _ort("ort-default", "ORT default recipe (S8S8 per tensor)"),
    _ort(BASELINE, "ORT U8S8 per channel, min-max", **U8S8),
    _ort("ort-u8s8-reduced", "the same, 7-bit weights", **U8S8, reduce_range=True),
    _ort(
        "ort-percentile",
        "the same, percentile 99.999",
        **{**U8S8, "calibrate_method": "Percentile", "extra_options": _ASYMMETRIC},
    ),
    _ort("ort-entropy", "the same, entropy", **{**U8S8, "calibrate_method": "Entropy"}),
    Method("optimum", "optimum-onnx, avx512_vnni static", ORT, "optimum_static.py", "optimum"),
    _nncf("nncf", "NNCF default, ONNX", ORT),
    _nncf("nncf-full", "NNCF full bias correction, ONNX", ORT, full=True),
    _nncf("nncf-tensor", "NNCF per-tensor activations, ONNX", ORT, per_tensor=True),
    _nncf("nncf-tensor-full", "the same, full bias correction", ORT, per_tensor=True, full=True),
    Method("ov-float", "OpenVINO: float, f32", OPENVINO, source=FLOAT),
    _nncf("ov-nncf", "OpenVINO: NNCF default", OPENVINO),
    _nncf("ov-nncf-full", "OpenVINO: NNCF aligned, full bias", OPENVINO, full=True),
    Method("ov-ort-u8s8", "OpenVINO: the ORT U8S8 file", OPENVINO, source=BASELINE),
    Method(RUNG, "edgetransfer, post-training rung, these rows", script="edgetransfer_quantise.py"),
    Method(f"ov-{RUNG}", "OpenVINO: the file of that rung", OPENVINO, source=RUNG),
)
OWN = {"edgetransfer": "auto", "edgetransfer-w8a8": "w8a8"}
"""edgetransfer's own rows, with what they ask of ``--precision``: auto may ship floats."""


def extra(name: str, title: str) -> tuple[Method, Method]:
    """Return the rows of a file that is brought along: run by ONNX Runtime and by OpenVINO."""
    return (
        Method(name, title, source=name),
        Method(f"ov-{name}", f"OpenVINO: the file of {name}", OPENVINO, source=name),
    )


TAKEN = frozenset(method.id for method in METHODS) | set(OWN)
"""Names that a file that is brought along cannot have."""
NEEDED = frozenset({FLOAT, BASELINE})
"""Rows that others are held against: made whatever was asked for."""
