"""The limits that a verdict is held against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from edgetransfer.spec.base import Positive, Share, Spec
from edgetransfer.spec.options import asked

Floor = Annotated[float, Field(gt=0, lt=1)]
OF_EVERY_TASK = {"max_drop_pp", "max_latency_ms", "max_size_mib", "max_flips_pct", "min_sqnr_db"}
"""Limits that are not of classes."""


class Budget(Spec):
    """What the artefact may cost, and what it has to reach.

    Only `max_drop_pp` gates when nothing is given. The latency is that of one inference of
    `core.onnx`; changed decisions, the divergence and the change of the calibration error are held
    by their 95 % bounds; floors are for the shipped model.
    """

    max_drop_pp: Positive = Field(2.0, **asked("max_drop"))
    max_latency_ms: Positive | None = Field(None, **asked("max_latency_ms"))
    max_size_mib: Positive | None = Field(None, **asked("max_size_mib"))
    max_flips_pct: Positive | None = Field(None, **asked("max_flips"))
    min_sqnr_db: float | None = Field(None, **asked("min_sqnr"))
    max_kl: Positive | None = Field(None, **asked("max_kl"))
    max_ece_change: Share | None = Field(None, gt=0, **asked("max_ece_change"))
    max_class_drop_pp: Positive | None = Field(None, **asked("max_class_drop"))
    min_accuracy: Floor | None = Field(None, **asked("min_accuracy"))
    min_macro_f1: Floor | None = Field(None, **asked("min_macro_f1"))
    min_recall: Mapping[str, Floor] = Field({}, **asked("min_recall"))

    @field_validator("min_recall", mode="before")
    @classmethod
    def _by_class(cls, given: Any) -> Any:  # noqa: ANN401 (whatever was given)
        """Read CLASS=VALUE, as the command line has it."""
        if not isinstance(given, list | tuple):
            return given
        pairs = [str(each).rpartition("=") for each in given]
        if not all(label and sign and value for label, sign, value in pairs):
            raise ValueError("expected CLASS=VALUE: --min-recall cat=0.8")
        return {label: float(value) for label, _, value in pairs}
