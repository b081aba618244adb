"""The limits that a verdict is held against.

It does not judge: `measure` does.
"""

from __future__ import annotations

from pydantic import Field

from edgetransfer.spec.base import Positive, Share, Spec


class Budget(Spec):
    """What the artefact may cost. Only `max_drop_pp` gates when nothing is given."""

    max_drop_pp: Positive = Field(2.0, description="accuracy points that may be lost, at most")
    max_latency_ms: Positive | None = Field(None, description="p90 of one inference of core.onnx")
    max_size_mib: Positive | None = Field(None, description="size of model.onnx")
    max_flips_pct: Positive | None = Field(None, description="95 % bound of changed decisions")
    min_sqnr_db: float | None = Field(None, description="signal to quantisation noise of logits")
    max_kl: Positive | None = Field(None, description="95 % bound of the mean divergence, nats")
    max_ece_change: Share | None = Field(
        None, gt=0, description="95 % bound of the change of the calibration error"
    )
    max_class_drop_pp: Positive | None = Field(
        None, description="points of recall that any class may lose, at most"
    )
