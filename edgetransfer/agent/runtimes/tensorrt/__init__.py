"""NVIDIA's TensorRT and TensorRT-RTX: an engine is built on the device, once, and kept there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping

from edgetransfer.agent.runtimes.tensorrt.build import PROVIDERS as PROVIDERS

if TYPE_CHECKING:
    from edgetransfer.agent.runtimes import Session, Tell


def open_session(variant: Mapping[str, Any], tell: Tell) -> Session:
    """Open the model of a variant; an engine of what is no file would say nothing of a device."""
    if isinstance(variant["model"], bytes):
        from edgetransfer.agent.runtimes.onnxruntime import OnnxSession

        return OnnxSession(variant["model"])
    from edgetransfer.agent.runtimes.tensorrt.session import TensorRtSession

    return TensorRtSession(
        variant["model"],
        variant["config"],
        variant["provider"],
        optimised_to=variant.get("optimised_to"),
        tell=tell,
    )
