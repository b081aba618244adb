"""Opens a model with the runtime that a job names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Optional

from edgetransfer.agent.session import OnnxSession, Session
from edgetransfer.agent.tensorrt_build import PROVIDERS

if TYPE_CHECKING:
    from edgetransfer.agent.tensorrt_build import Tell


def open_session(variant: Mapping[str, Any], tell: Optional[Tell] = None) -> Session:
    """Open the model of a variant.

    Args:
        variant: of a job.
        tell: told of the progress of what takes long: building an engine.
    """
    if variant["provider"] in PROVIDERS:
        from edgetransfer.agent.tensorrt_session import TensorRtSession

        return TensorRtSession(
            variant["model"],
            variant["config"],
            variant["provider"],
            optimised_to=variant.get("optimised_to"),
            tell=tell,
        )
    return OnnxSession(
        variant["model"],
        threads=variant["threads"],
        config=variant["config"],
        provider=variant["provider"],
        optimised_to=variant.get("optimised_to"),
        fused=variant.get("fused", True),
    )
