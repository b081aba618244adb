"""The form of every JSON file of a bundle: what its readers rely on, and within which bounds.

Fields that are not named here are for later versions and other readers; those with a default are
newer than the first bundles. Numbers are bounded so that whoever shows them can compute with them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.target import TargetSpec

_FAR = 1e12


class Form(BaseModel):
    """A JSON object that was written by some version of this package."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


def _rises(span: list[float]) -> list[float]:
    if any(after < before for before, after in pairwise(span)):
        msg = "Numbers should rise"
        raise ValueError(msg)
    return span


Number = Annotated[float, Field(ge=-_FAR, le=_FAR)]
Above = Annotated[float, Field(ge=1e-12, le=_FAR)]
"""What may be divided by."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Size = Annotated[int, Field(ge=1, le=10**12)]
Span = Annotated[list[Number], Field(min_length=2, max_length=2), AfterValidator(_rises)]
SpanAbove = Annotated[list[Above], Field(min_length=2, max_length=2), AfterValidator(_rises)]
Label = Annotated[str, Field(min_length=1)]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Status = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT RUN"]


def _all_or_none(form: BaseModel, names: tuple[str, ...]) -> None:
    """Refuse numbers that are told in part: whoever shows the first relies on the others."""
    lacking = [name for name in names if getattr(form, name) is None]
    if lacking and len(lacking) < len(names):
        msg = f"{', '.join(lacking)} should be a number where {names[0]} is one"
        raise ValueError(msg)


class Gate(Form):
    """A row of `gates`."""

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


class Accuracy(Form):
    """A metric of both models, of all examples or of a group."""

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
    def _whole(self) -> Accuracy:
        _all_or_none(self, ("reference", "candidate", "delta_pp", "ci95_pp", "drop_ucb95_pp"))
        if self.n is None and self.reference is not None:
            msg = "n should be a number where reference is one"
            raise ValueError(msg)
        return self


class Group(Accuracy):
    """The metric of one group of examples."""

    column: str
    value: str


class Recall(Form):
    """A row of `per_class`."""

    label: str
    n: Count | None
    recall_reference: Number | None
    recall_candidate: Number | None
    change_pp: Number | None
    p_holm: Number | None = None

    @model_validator(mode="after")
    def _whole(self) -> Recall:
        _all_or_none(self, ("recall_reference", "recall_candidate", "change_pp"))
        return self


class Confusion(Form):
    """Cells [label, decision, count]; the last is above 0."""

    reference: list[Annotated[list[Count], Field(min_length=3, max_length=3)]]
    candidate: list[Annotated[list[Count], Field(min_length=3, max_length=3)]]


class Agreement(Form):
    """Decisions of both models."""

    n: Count
    rate: Number
    flips: Count
    flip_rate_ucb95: Number


class Numeric(Form):
    """Logits of both models."""

    sqnr_db: Number | None
    kl_mean: Number | None
    cosine_mean: Number | None
    non_finite: Count = 0


class Times(Form):
    """Times of one model, ms."""

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

    @model_validator(mode="after")
    def _whole(self) -> Times:
        _all_or_none(self, ("p50_ms", "p90_ms"))
        return self


class Ratio(Form):
    """How many times as fast the candidate is."""

    ratio: Above | None
    ci95: SpanAbove | None
    told: str | None = Field(None, alias="class")
    cpu_ratio: Above | None = None
    cpu_ci95: SpanAbove | None = None
    cpu_class: str | None = None
    blocks: Count | None = None

    @model_validator(mode="after")
    def _whole(self) -> Ratio:
        _all_or_none(self, ("ratio", "ci95", "told"))
        return self


class Histogram(Form):
    """Counts between edges, ms."""

    edges_ms: Annotated[list[Number], Field(min_length=2)]
    reference: list[Count]
    candidate: list[Count]

    @model_validator(mode="after")
    def _fits(self) -> Histogram:
        rises = all(a < b for a, b in pairwise(self.edges_ms))
        bars = len(self.edges_ms) - 1
        if not rises or not len(self.reference) == len(self.candidate) == bars:
            msg = "edges_ms should rise, with a count of each model between two"
            raise ValueError(msg)
        return self


class Series(Form):
    """One timed series of both models."""

    reference: Times
    candidate: Times
    speedup: Ratio
    histogram: Histogram | None = None

    @model_validator(mode="after")
    def _whole(self) -> Series:
        if (self.reference.p50_ms is None) != (self.candidate.p50_ms is None):
            msg = "reference and candidate should both be timed, or neither"
            raise ValueError(msg)
        return self


class Memory(Form):
    """What the process of one model held, MiB."""

    peak_mib: Number | None = None
    load_delta_mib: Number | None = None
    proportional_mib: Number | None = None


class Bytes(Form):
    """Sizes of ``reference.onnx`` and ``model.onnx``."""

    reference_bytes: Size
    candidate_bytes: Size


class Residency(Form):
    """What runs in integers."""

    float_conv: Count | None
    int8_conv: Count | None
    float_ops: list[str] | None

    @model_validator(mode="after")
    def _whole(self) -> Residency:
        _all_or_none(self, ("float_conv", "int8_conv", "float_ops"))
        return self


class Rung(Form):
    """A row of `ladder`."""

    rung: str
    precision: str
    shipped: bool
    status: str | None = None
    why: str | None = None
    slower: bool | None = None
    accuracy: Number | None = None
    accuracy_ci95: Span | None = None
    flips: Count | None = None
    examples: Count | None = None
    sqnr_db: Number | None = None
    p90_ms: Number | None = None
    cpu_ratio: Number | None = None
    bytes: Count | None = None
    seconds: Number | None = None
    noisiest_layers: list[str] | None = None
    float_layers: list[str] | None = None
    float_nodes: list[str] | None = None

    @model_validator(mode="after")
    def _whole(self) -> Rung:
        if self.slower and self.cpu_ratio is None:
            msg = "cpu_ratio should be a number where slower is true"
            raise ValueError(msg)
        return self


class Contest(Form):
    """A row that holds two models against each other."""

    subject: str
    rival: str
    subject_score: Number
    rival_score: Number
    delta_pp: Number
    ci95_pp: Span
    n: Count
    examples: str
    finding: str


class Neighbours(Form):
    """How often nearest neighbours are right."""

    k: Count
    n: Count
    accuracy: Number
    chance: Number
    p: Number


class FromSource(Form):
    """How far examples are from what the backbone was trained on."""

    far: Number
    median: Number


class Unseen(Form):
    """What a group costs that nothing was fitted on."""

    column: str
    groups: Count
    apart: Number
    mixed: Number
    cost_pp: Number
    ci95_pp: Span


class Warned(Form):
    """A warning."""

    message: str
    measured_pp: Number | None = None


class Soundness(Form):
    """The block `soundness`."""

    tested: bool
    reason: str | None = None
    neighbours: Neighbours | None = None
    source: FromSource | None = None
    unseen: Unseen | None = None
    comparisons: list[Contest] = []
    warnings: list[Warned] = []


class Shift(Form):
    """How well two sets of examples are told apart."""

    auc: Number
    ci95: Span


class Tried(Form):
    """A method of adaptation that was tried."""

    method: str
    gain_pp: Number
    p: Number
    n: Count
    taken: bool


class Adaptation(Form):
    """The block `adaptation`."""

    method: str
    shift: Shift | None = None
    tried: list[Tried] = []
    comparison: Contest | None = None
    unmeasured: str = ""
    warnings: list[Warned] = []


class Suspect(Form):
    """A label that looks wrong."""

    example: str
    given: str
    likely: str
    given_probability: Number
    likely_probability: Number


class Gain(Form):
    """What more labels should give."""

    gain_pp: Number
    ci95_pp: Span
    examples: Count


class ClassGain(Form):
    """What more labels of one class should give it."""

    label: str
    more: Count
    gain_pp: Number
    ci95_pp: Span


class Curve(Form):
    """The learning curve."""

    now: Count
    sizes: Annotated[list[Count], Field(min_length=1)]
    error: Annotated[list[Number], Field(min_length=1)]
    falls: bool
    gains: list[Gain]
    classes: list[ClassGain] = []

    @model_validator(mode="after")
    def _fits(self) -> Curve:
        if len(self.sizes) != len(self.error):
            msg = "error should have a number for each of sizes"
            raise ValueError(msg)
        return self


class Pair(Form):
    """Two examples that are nearly the same."""

    example: str
    split: str
    label: str | None
    other: str
    other_split: str
    other_label: str | None


class NearDuplicates(Form):
    """What nearly repeats."""

    compared: Count
    examples: Count
    pairs: Count
    across: Count
    contrary: Count
    test_examples: Count
    listed: list[Pair] = []


class Labelling(Form):
    """The block `labelling`."""

    judged: Count
    suspect: Count
    suspects: list[Suspect] = []
    curve: Curve | None = None
    near_duplicates: NearDuplicates | None = None


class Candidate(Form):
    """A backbone that was ranked."""

    backbone: str
    on_front: bool = False
    accuracy: Number | None = None
    p90_ms: Number | None = None
    log_loss: Number | None = None
    logme: Number | None = None
    h_score: Number | None = None
    parameters: Number | None = None
    macs: Number | None = None
    float_bytes: Number | None = None
    int8_bytes: Number | None = None
    float_p90_ms: Number | None = None
    int8_p90_ms: Number | None = None
    licence: str | None = None


class Choice(Form):
    """The block `choice`: ranked backbones."""

    candidates: list[Candidate]
    examples: Count
    why: str | None = None
    timed_on: str | None = None


class Validity(Form):
    """Whether times are to be trusted."""

    valid: bool | None = None
    violations: list[str] = []
    not_warmed_up: list[str] = []
    deterministic: dict[str, bool | None] = {}


class Environment(Form):
    """The machine."""

    cpu: str | None = None
    arch: str | None = None
    isa: list[str] | None = None
    warnings: list[str] = []


class Kind(Form):
    """What one kind of processor was seen to compute."""

    bit_equal: bool
    where: str | None = None
    examples: Count | None = None


class Portability(Form):
    """``portability.json``, and the block of that name."""

    portable_exact: bool
    kinds: dict[str, Kind]


class Sustained(Form):
    """The block `sustained`."""

    seconds: Number
    cool_p50_ms: Number
    steady_p50_ms: Number
    drop_pct: Number


class Energy(Form):
    """A row of `energy`."""

    mj_per_inference: Number | None
    reason: str | None = None
    method: str | None = None


class Report(Form):
    """``report.json``: see docs/report.md."""

    format: Literal["edgetransfer.report/1"] = Field(alias="schema")
    target: str
    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE", "UNVERIFIED"]
    reasons: list[str]
    gates: list[Gate]
    validity: Validity
    environment: Environment
    budget: dict[str, Number | None] = {}
    precision: str = ""
    labels: list[str] = []
    accuracy: Accuracy
    agreement: Agreement
    numeric: Numeric
    per_class: list[Recall]
    confusion: Confusion = Confusion(reference=[], candidate=[])
    groups: list[Group]
    latency: Series
    end_to_end: Series
    memory: dict[str, Memory]
    load: dict[str, dict[str, Number | None]]
    size: Bytes
    residency: Residency
    ladder: list[Rung]
    unavailable: dict[str, str]
    soundness: Soundness | None = None
    adaptation: Adaptation | None = None
    labelling: Labelling | None = None
    choice: Choice | None = None
    portability: Portability | None = None
    sustained: Sustained | None = None
    energy: dict[str, Energy] = {}

    @model_validator(mode="after")
    def _fits(self) -> Report:
        cells = [*self.confusion.reference, *self.confusion.candidate]
        most = max((max(row, column) for row, column, _ in cells), default=-1)
        if most >= len(self.labels) or (cells and len(self.per_class) != len(self.labels)):
            msg = "confusion and per_class should be of as many classes as there are labels"
            raise ValueError(msg)
        return self


class Session(Form):
    """How the runtime is started."""

    threads: Annotated[int, Field(ge=1, le=1024)]
    config: dict[str, str]


class Scheme(Form):
    """How integers are laid out."""

    activation: Literal["u8", "s8"] | None = None


class Compression(Form):
    """How the network was made small."""

    precision: Literal["w8a8", "fp16", "fp32"]
    ladder: list[Rung]
    scheme: Scheme | None = None


class Parity(Form):
    """How near the exported graph is to the network."""

    max_abs: Number
    range: Number
    min_cosine: Number
    n: Count
    flips: Count | None = None


class Split(Form):
    """A split of the data."""

    examples: Count
    digest: str


class Data(Form):
    """What the examples were."""

    splits: dict[str, Split] = {}
    dropped: dict[str, Count] = {}
    notes: list[str] = []


class LossSaved(Form):
    """What fine-tuning gained."""

    mean: Number
    ci95: Span


class Fit(Form):
    """How the network was fitted."""

    method: str | None = None
    cross_validated: list[dict[str, Any]] = []
    raced: dict[str, Number] = {}
    gain: LossSaved | None = None


class Backbone(Form):
    """Where the network came from."""

    source: str | None = None
    licence: Any = None
    parameters: Number | None = None
    macs: Number | None = None
    digest: str | None = None


class AddedClass(Form):
    """A class that was added later."""

    digests: list[Digest]


class Manifest(Form):
    """``manifest.json``."""

    format: Literal["edgetransfer.bundle/1"] = Field(alias="schema")
    target: TargetSpec
    recipe: Recipe
    session: Session
    compression: Compression
    files: dict[str, Digest]
    data: Data = Data()
    backbone: Backbone | None = None
    fit: Fit | None = None
    export: Parity | None = None
    seed: int | None = None
    versions: dict[str, str | None] = {}
    added: list[AddedClass] = []
    soundness: Soundness | None = None
    adaptation: Adaptation | None = None
    labelling: Labelling | None = None
    choice: Choice | None = None


class Dump(Form):
    """An array in a file beside ``index.json``."""

    file: FileName
    dtype: str
    shape: list[Count]


class Case(Form):
    """A golden example with what both models make of it."""

    label: str | None
    text: str | None
    png: FileName | None = None
    core_logits: list[Number]
    reference_logits: list[Number]
    prepared: dict[str, Dump]


class Golden(Form):
    """``golden/index.json``."""

    format: Literal["edgetransfer.golden/1"] = Field(alias="schema")
    cases: list[Case]
