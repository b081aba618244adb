"""The limits that a verdict is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from edgetransfer.spec.base import Positive, Share, Spec

Floor = Annotated[float, Field(gt=0, lt=1)]


class Budget(Spec):
    """What the artefact may cost, and what it has to reach.

    Only `max_drop_pp` gates when nothing is given.
    """

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
    min_accuracy: Floor | None = Field(
        None, description="share of right decisions that the shipped model reaches, at least"
    )
    min_macro_f1: Floor | None = Field(None, description="macro-F1 that it reaches, at least")
    min_recall: Mapping[str, Floor] = Field(
        {}, description="recall that it reaches, at least, by the name of the class"
    )

    @field_validator("min_recall", mode="before")
    @classmethod
    def _by_class(cls, given: Any) -> Any:  # noqa: ANN401 (whatever was given)
        """Read CLASS=VALUE, as the command line has it."""
        if not isinstance(given, list | tuple):
            return given
        pairs = [str(each).rpartition("=") for each in given]
        if not all(label and sign and value for label, sign, value in pairs):
            msg = "expected CLASS=VALUE: --min-recall cat=0.8"
            raise ValueError(msg)
        return {label: float(value) for label, _, value in pairs}
