"""Fit, quantise, export and measure small models for edge devices."""

import os
from typing import TYPE_CHECKING

# Read by ONNX Runtime when it loads, whoever imports it first; see `edgetransfer.agent`.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

if TYPE_CHECKING:
    from edgetransfer.pipeline.api import bench, build, load, predict

__all__ = ["bench", "build", "load", "predict"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from edgetransfer.pipeline import api

        return getattr(api, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return [*__all__]
