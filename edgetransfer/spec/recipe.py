"""The recipe: everything one build depends on, as one frozen, validated value.

It does not resolve names against the machine; `catalogue` and the stages do.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from edgetransfer.spec.words import FitMethod, Metric, PrecisionChoice, TimingEffort

Positive = Annotated[float, Field(gt=0)]


class Spec(BaseModel):
    """Base of all specs: frozen, no unknown fields, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSpec(Spec):
    """Where the labelled examples are and what their columns mean."""

    source: str = Field(description="a folder of pictures, or a CSV, TSV, JSONL or Parquet table")
    label_column: str | None = Field(None, description="default: label, category, class or intent")
    text_column: str | None = Field(None, description="default: text")
    file_column: str | None = Field(None, description="default: file, image or path")
    split_by: str | None = Field(
        None, description="column whose values stay on one side of every carved split"
    )
    group_by: tuple[str, ...] = Field((), description="columns to report accuracy for, by value")


class BackboneSpec(Spec):
    """Which pretrained network to start from."""

    source: str = Field(
        "builtin:tiny-64",
        description="hf:ORG/NAME, timm:NAME, builtin:NAME, a local folder, or a float .onnx file",
    )


class FitSpec(Spec):
    """How the backbone is fitted to the examples."""

    method: FitMethod = "auto"
    epochs: int = Field(12, ge=1, le=1000, description="fine-tuning passes over the data at most")
    learning_rate: Positive = Field(
        3e-4, description="largest share of a layer's typical weight that one step may move"
    )
    batch_size: int = Field(32, ge=1, le=4096)


class QuantSpec(Spec):
    """How numbers are stored and calibrated."""

    precision: PrecisionChoice = "auto"
    calibration: str = Field("default", description="name or path of a calibration recipe")


class Budget(Spec):
    """What the artefact may cost. Only `max_drop_pp` gates when nothing is given."""

    max_drop_pp: Positive = Field(2.0, description="accuracy points that may be lost, at most")
    max_latency_ms: Positive | None = Field(None, description="p90 of one inference of core.onnx")
    max_size_mib: Positive | None = Field(None, description="size of model.onnx")
    max_flips_pct: Positive | None = Field(None, description="95 % bound of changed decisions")
    min_sqnr_db: float | None = Field(None, description="signal to quantisation noise of logits")


class Recipe(Spec):
    """One build, whole: the same recipe on the same data gives the same artefacts."""

    data: DataSpec
    backbone: BackboneSpec = BackboneSpec()
    fit: FitSpec = FitSpec()
    quant: QuantSpec = QuantSpec()
    budget: Budget = Budget()
    targets: tuple[str, ...] = Field(("this-machine",), min_length=1)
    metric: Metric = "top1"
    seed: int = Field(0, ge=0, lt=2**32)
    threads: int | None = Field(None, ge=1, le=256, description="default: what the target says")
    timing: TimingEffort = Field("standard", description="quick: a first look, wide intervals")
