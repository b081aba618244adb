"""Reads the files of a bundle: one function for each kind, each within limits and of a known form.

What it returns are plain JSON values that fit their form: readers may index what is required there
and compute with it. What does not fit raises an `IntegrityError` that names every such field.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from edgetransfer.bundle import forms
from edgetransfer.bundle.forms import (
    Above,
    Count,
    FileName,
    Form,
    Number,
    PortabilityForm,
    RungForm,
    Size,
    Span,
    SpanAbove,
    StudiedForm,
    WorthForm,
)
from edgetransfer.errors import IntegrityError
from edgetransfer.spec import tasks
from edgetransfer.spec.outside import KIB, MIB, Kind, json_of, parsed, shortened, text_of, validated
from edgetransfer.spec.preprocess import PREPROCESSING, ImagePreprocessing, TextPreprocessing
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
    capped: Count = 0


class StageForm(Form):
    stage: str
    found: bool
    seconds: Number
    cpu_seconds: Number
    peak_memory_mib: Number


class FormatForm(WorthForm):
    """The network for another runtime, on the examples of the report."""

    runtime: str
    examples: Count
    flips: Count


class AppForm(Form):
    """What the check of a kit measured on one device."""

    kit: str
    device: str
    runtime: str
    status: Status
    reasons: list[str]
    cases: Count
    worst: Number
    changed: Count
    n: Count
    p50_ms: Number | None
    p90_ms: Number | None
    p90_ci95_ms: Span | None


class BuildForm(Form):
    """What a build took."""

    seconds: Number
    cpu_seconds: Number
    stages: list[StageForm]
    energy_j: Number | None = None


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
    build: BuildForm | None = None
    apps: list[AppForm] | None = None
    formats: list[FormatForm] | None = None


class DumpForm(Form):
    """An array in a file beside ``index.json``."""

    file: FileName
    dtype: str
    shape: list[Count]


def _shape(rows: object) -> tuple[int, ...]:
    if not isinstance(rows, list):
        return ()
    shapes = {_shape(each) for each in rows}
    if len(shapes) > 1:
        raise ValueError("Rows should be of one length")
    return (len(rows), *next(iter(shapes), ()))


def _even(rows: list[Any]) -> list[Any]:
    _shape(rows)
    return rows


Rows = Annotated[
    list[Number] | list[list[Number]] | list[list[list[Number]]], AfterValidator(_even)
]


class CaseForm(Form):
    """A golden example; until version 2 the only output was `logits`."""

    label: str | None
    text: str | None
    png: FileName | None = None
    core: dict[str, Rows] = {}
    reference: dict[str, Rows] = {}
    core_logits: list[Number] = []
    reference_logits: list[Number] = []
    prepared: dict[str, DumpForm]

    @model_validator(mode="after")
    def _both(self) -> CaseForm:
        if not (self.core or self.core_logits) or not (self.reference or self.reference_logits):
            raise ValueError("core and reference should be outputs by name")
        return self


class GoldenForm(Form):
    format: Literal["edgetransfer.golden/1", "edgetransfer.golden/2"] = Field(alias="schema")
    cases: list[CaseForm]


_OURS = Kind(
    "",
    64 * MIB,
    IntegrityError,
    expected="as `edgetransfer build` wrote it",
    fix="build it again, or copy the bundle again",
)
MANIFEST = replace(_OURS, called="manifest")
REPORT = replace(_OURS, called="report")
CONTRACT = replace(_OURS, called="contract", most=64 * KIB)
GOLDEN = replace(_OURS, called="list of golden examples")
LABELS = replace(_OURS, called="list of labels", most=16 * MIB)
FITTED_ON = replace(_OURS, called="list of digests", most=1024 * MIB)
DESCRIBED = replace(_OURS, called="description of a model", most=16 * MIB)
DESCRIPTION = "edgetransfer."
"""What the keys of ours in ``metadata_props`` begin with."""
STRUCTURED = frozenset({"labels", "inputs", "outputs"})
"""Of a description: what is told as JSON."""
PORTABILITY = Kind(
    "record of portability",
    MIB,
    expected="as `edgetransfer bench` wrote it",
    fix="delete the file: the next bench begins a new one",
)


def _form(
    path: Path, form: type[forms.Form], kind: Kind, schema: str, *older: str
) -> dict[str, Any]:
    value: dict[str, Any] = json_of(path, kind)
    found = value.get("schema") if isinstance(value, dict) else value
    if found not in (schema, *older):
        what = f"a {kind.called} of another kind"
        raise IntegrityError(what, where=str(path), found=shortened(found), expected=repr(schema))
    validated(form, value, path, kind)
    return value


def read_manifest(path: Path) -> dict[str, Any]:
    """Read ``manifest.json``."""
    return _form(path, forms.ManifestForm, MANIFEST, "edgetransfer.bundle/1")


def read_report(path: Path) -> dict[str, Any]:
    """Read ``report.json``: its own form, then that of its task's blocks.

    In version 1 every report was one of classification, and did not say so.
    """
    found = _form(path, ReportForm, REPORT, "edgetransfer.report/2", "edgetransfer.report/1")
    found.setdefault("task", tasks.CLASSIFICATION)
    if found["task"] not in tasks.TASKS:
        raise REPORT.fault("a task that this version does not know", path, repr(found["task"]))
    validated(tasks.load(found["task"]).report_form, found, path, REPORT)
    return found


def read_golden(path: Path) -> list[dict[str, Any]]:
    """Read ``golden/index.json`` and return its cases."""
    schemas = "edgetransfer.golden/2", "edgetransfer.golden/1"
    cases: list[dict[str, Any]] = _form(path, GoldenForm, GOLDEN, *schemas)["cases"]
    for case in cases:
        for side in ("core", "reference"):
            if side not in case:
                case[side] = {"logits": case.pop(f"{side}_logits")}
    return cases


def read_portability(path: Path) -> dict[str, Any]:
    """Read ``portability.json``; nothing where it is not there."""
    if not os.path.lexists(path):
        return {}
    return _form(path, forms.PortabilityForm, PORTABILITY, "edgetransfer.portability/1")


def read_contract(path: Path, kind: Kind = CONTRACT) -> ImagePreprocessing | TextPreprocessing:
    """Read ``preprocess.json``."""
    return validated(PREPROCESSING, json_of(path, kind), path, kind)


def read_description(path: Path) -> dict[str, Any] | None:
    """Read what an ONNX file says of itself in ``metadata_props``; None where it is not ours.

    Of a file that cannot be read it is None too: whoever opens it says what is wrong.
    """
    import onnx

    try:
        said = onnx.load(path, load_external_data=False).metadata_props
    except Exception:  # protobuf raises kinds of its own
        return None
    found = {
        each.key.removeprefix(DESCRIPTION): each.value
        for each in said
        if each.key.startswith(DESCRIPTION)
    }
    if not found:
        return None
    for key in STRUCTURED & found.keys():
        if len(found[key]) > DESCRIBED.most:
            raise DESCRIBED.unreadable(path, f"{key} of {len(found[key]):,} characters")
        found[key] = parsed(found[key], path, DESCRIBED)
    validated(forms.DescriptionForm, found, path, DESCRIBED)
    return found


def read_labels(path: Path, kind: Kind = LABELS) -> tuple[str, ...]:
    """Read ``labels.txt``: a name a line, of classes in the order of the outputs.

    A byte order mark and Windows' ends of lines do no harm, and are taken off. A blank line, or two
    of the same name, raise the error of the kind.
    """
    lines = text_of(path, kind).replace("\r\n", "\n").rstrip("\n").split("\n")
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise kind.fault("a class without a name", f"{path} line {number}")
        first = seen.setdefault(unicodedata.normalize("NFC", line), number)
        if first != number:
            found = f"lines {first} and {number}: {line[:80]!r}"
            raise kind.fault("two classes of one name", path, found)
    return tuple(lines)


def read_digests(path: Path) -> set[str]:
    """Read ``fitted_on.txt``: a digest a line."""
    return set(text_of(path, FITTED_ON).split())
