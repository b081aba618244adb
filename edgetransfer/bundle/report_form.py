"""The form of ``report.json``: see docs/report.md."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgetransfer.bundle.forms import (
    Above,
    AdaptationForm,
    BuildScoreForm,
    ChoiceForm,
    Count,
    Form,
    LabellingForm,
    Number,
    PortabilityForm,
    RungForm,
    Size,
    SoundnessForm,
    Span,
    SpanAbove,
)

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


class AccuracyForm(Form):
    together = ("reference", "candidate", "delta_pp", "ci95_pp", "drop_ucb95_pp")
    metric: str
    n: Count | None
    reference: Number | None
    candidate: Number | None
    delta_pp: Number | None
    ci95_pp: Span | None
    drop_ucb95_pp: Number | None
    reference_ci95: Span | None = None
    candidate_ci95: Span | None = None
    reference_only: Count | None = None
    candidate_only: Count | None = None
    mcnemar_p: Number | None = None
    method: str | None = None

    @model_validator(mode="after")
    def _counted(self) -> AccuracyForm:
        if self.n is None and self.reference is not None:
            raise ValueError("n should be a number where reference is one")
        return self


class GroupForm(AccuracyForm):
    column: str
    value: str


class RecallForm(Form):
    together = ("recall_reference", "recall_candidate", "change_pp")
    label: str
    n: Count | None
    recall_reference: Number | None
    recall_candidate: Number | None
    change_pp: Number | None
    p_holm: Number | None = None


class ConfusionForm(Form):
    """Cells [label, decision, count]; the last is above 0."""

    reference: list[Annotated[list[Count], Field(min_length=3, max_length=3)]]
    candidate: list[Annotated[list[Count], Field(min_length=3, max_length=3)]]


class AgreementForm(Form):
    """Decisions of both models."""

    n: Count
    rate: Number
    flips: Count
    flip_rate_ucb95: Number


class NumericForm(Form):
    sqnr_db: Number | None
    kl_mean: Number | None
    cosine_mean: Number | None
    non_finite: Count = 0


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
    together = ("ratio", "ci95", "told")
    ratio: Above | None
    ci95: SpanAbove | None
    told: str | None = Field(None, alias="class")
    cpu_ratio: Above | None = None
    cpu_ci95: SpanAbove | None = None
    cpu_class: str | None = None
    blocks: Count | None = None


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


class ReportForm(Form):
    format: Literal["edgetransfer.report/1"] = Field(alias="schema")
    target: str
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "UNVERIFIED"]
    reasons: list[str]
    gates: list[GateForm]
    validity: ValidityForm
    environment: EnvironmentForm
    budget: dict[str, Number | dict[str, Number] | None] = {}
    examples: SampleForm | None = None
    notes: list[str] = []
    recorded: BuildScoreForm | None = None
    identical: bool = False
    precision: str = ""
    labels: list[str] = []
    accuracy: AccuracyForm
    agreement: AgreementForm
    numeric: NumericForm
    per_class: list[RecallForm]
    confusion: ConfusionForm = ConfusionForm(reference=[], candidate=[])
    groups: list[GroupForm]
    latency: SeriesForm
    end_to_end: SeriesForm
    memory: dict[str, MemoryForm]
    load: dict[str, dict[str, Number | None]]
    size: BytesForm
    residency: ResidencyForm
    ladder: list[RungForm]
    unavailable: dict[str, str]
    soundness: SoundnessForm | None = None
    adaptation: AdaptationForm | None = None
    labelling: LabellingForm | None = None
    choice: ChoiceForm | None = None
    portability: PortabilityForm | None = None
    sustained: SustainedLoadForm | None = None
    energy: dict[str, EnergyForm] = {}

    @model_validator(mode="after")
    def _fits(self) -> ReportForm:
        cells = [*self.confusion.reference, *self.confusion.candidate]
        most = max((max(row, column) for row, column, _ in cells), default=-1)
        if most >= len(self.labels) or (cells and len(self.per_class) != len(self.labels)):
            msg = "confusion and per_class should be of as many classes as there are labels"
            raise ValueError(msg)
        return self
