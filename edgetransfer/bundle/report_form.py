"""The form of ``report.json``, but for the blocks of its task: see docs/report.md."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgetransfer.bundle.forms import (
    Above,
    Count,
    Form,
    Number,
    PortabilityForm,
    RungForm,
    Size,
    Span,
    SpanAbove,
    StudiedForm,
)
from edgetransfer.spec.tasks import CLASSIFICATION

Status = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"]


class GateForm(Form):
    name: str
    status: Status
    decides: bool
    measured: Number | None
    limit: Number | None
    unit: str
    message: str
    code: str = ""
    examples_needed: Count | None = None
    fewest_examples: Count | None = None


class AgreementForm(Form):
    """Decisions of both models."""

    n: Count
    rate: Number
    flips: Count
    flip_rate_ucb95: Number


class NumericForm(Form):
    sqnr_db: Number | None
    cosine_mean: Number | None
    non_finite: Count = 0
    sqnr_db_by_output: dict[str, Number | None] = {}


class TimesForm(Form):
    together = ("p50_ms", "p90_ms")
    p50_ms: Number | None
    p90_ms: Number | None
    n: Count | None = None
    processes: Count | None = None
    p50_ci95_ms: Span | None = None
    p90_ci95_ms: Span | None = None
    cpu_p50_ms: Number | None = None
    cpu_p50_ci95_ms: Span | None = None
    mean_ms: Number | None = None
    max_ms: Number | None = None
    process_p50_ms: list[Number] | None = None


class RatioForm(Form):
    """A ratio stands without an interval where one process timed both; a class always stands."""

    ratio: Above | None
    ci95: SpanAbove | None
    told: str | None = Field(None, alias="class")
    cpu_ratio: Above | None = None
    cpu_ci95: SpanAbove | None = None
    cpu_class: str | None = None
    blocks: Count | None = None

    @model_validator(mode="after")
    def _known(self) -> RatioForm:
        if self.ci95 is not None and None in (self.ratio, self.told):
            raise ValueError("ratio and class should be there where ci95 is")
        return self


class HistogramForm(Form):
    edges_ms: Annotated[list[Number], Field(min_length=2)]
    reference: list[Count]
    candidate: list[Count]

    @model_validator(mode="after")
    def _fits(self) -> HistogramForm:
        rises = all(a < b for a, b in pairwise(self.edges_ms))
        bars = len(self.edges_ms) - 1
        if not rises or not len(self.reference) == len(self.candidate) == bars:
            raise ValueError("edges_ms should rise, with a count of each model between two")
        return self


class SeriesForm(Form):
    reference: TimesForm
    candidate: TimesForm
    speedup: RatioForm
    histogram: HistogramForm | None = None

    @model_validator(mode="after")
    def _both(self) -> SeriesForm:
        if (self.reference.p50_ms is None) != (self.candidate.p50_ms is None):
            raise ValueError("reference and candidate should both be timed, or neither")
        return self


class MemoryForm(Form):
    peak_mib: Number | None = None
    load_delta_mib: Number | None = None
    proportional_mib: Number | None = None


class BytesForm(Form):
    """Sizes of ``reference.onnx`` and ``model.onnx``."""

    reference_bytes: Size
    candidate_bytes: Size


class ResidencyForm(Form):
    together = ("float_conv", "int8_conv", "float_ops")
    float_conv: Count | None
    int8_conv: Count | None
    float_ops: list[str] | None


class ValidityForm(Form):
    valid: bool | None = None
    violations: list[str] = []
    not_warmed_up: list[str] = []
    deterministic: dict[str, bool | None] = {}


class EnvironmentForm(Form):
    cpu: str | None = None
    arch: str | None = None
    isa: list[str] | None = None
    warnings: list[str] = []


class SustainedLoadForm(Form):
    seconds: Number
    valid: bool = True
    violations: list[str] = []
    cool_p50_ms: Number | None = None
    steady_p50_ms: Number | None = None
    drop_pct: Number | None = None


class EnergyForm(Form):
    mj_per_inference: Number | None
    reason: str | None = None
    method: str | None = None


class SampleForm(Form):
    """What stands behind the examples that were judged."""

    given: Count
    distinct: Count
    contradicted: Count
    known: Count
    judged: Count
    counts: bool


class ReportForm(StudiedForm):
    format: Literal["edgetransfer.report/1", "edgetransfer.report/2"] = Field(alias="schema")
    task: str = CLASSIFICATION
    target: str
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "UNVERIFIED"]
    reasons: list[str]
    gates: list[GateForm]
    validity: ValidityForm
    environment: EnvironmentForm
    budget: dict[str, Number | dict[str, Number] | None] = {}
    examples: SampleForm | None = None
    notes: list[str] = []
    identical: bool = False
    precision: str = ""
    labels: list[str] = []
    agreement: AgreementForm
    numeric: NumericForm
    latency: SeriesForm
    end_to_end: SeriesForm
    memory: dict[str, MemoryForm]
    load: dict[str, dict[str, Number | None]]
    size: BytesForm
    residency: ResidencyForm
    ladder: list[RungForm]
    unavailable: dict[str, str]
    portability: PortabilityForm | None = None
    sustained: SustainedLoadForm | None = None
    energy: dict[str, EnergyForm] = {}
