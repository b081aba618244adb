"""The form of every JSON file of a bundle: what its readers rely on, and within which bounds.

Fields that are not named here are for later versions and other readers; those with a default are
newer than the first bundles. Numbers are bounded so that whoever shows them can compute with them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.target import Setting, TargetSpec

_FAR = 1e12


_DECIMAL = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"


class Form(BaseModel):
    """A JSON object that was written by some version of this package.

    Numbers that stand `together` are told all or not at all: who shows the first relies on the
    others.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    together: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        lacking = [name for name in self.together if getattr(self, name) is None]
        if lacking and len(lacking) < len(self.together):
            msg = f"{', '.join(lacking)} should be a number where {self.together[0]} is one"
            raise ValueError(msg)
        return self


def _rises(span: list[Any]) -> list[Any]:
    if any(after < before for before, after in pairwise(span)):
        raise ValueError("Numbers should rise")
    return span


Number = Annotated[float, Field(ge=-_FAR, le=_FAR)]
Above = Annotated[float, Field(ge=1e-12, le=_FAR)]
"""What may be divided by."""
Count = Annotated[int, Field(ge=0, le=10**12)]
Size = Annotated[int, Field(ge=1, le=10**12)]
Span = Annotated[list[Number], Field(min_length=2, max_length=2), AfterValidator(_rises)]
SpanAbove = Annotated[list[Above], Field(min_length=2, max_length=2), AfterValidator(_rises)]
RightOf = Annotated[list[Count], Field(min_length=2, max_length=2), AfterValidator(_rises)]
"""How many were right, of how many."""
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class WorthForm(Form):
    """What outputs are worth: held against the floats', and against labels where there are."""

    accuracy: Number | None = None
    accuracy_ci95: Span | None = None
    flips: Count | None = None
    examples: Count | None = None
    sqnr_db: Number | None = None


class RuntimeForm(WorthForm):
    """What a candidate is worth in one runtime, and how fast beside the target's own."""

    p50_ms: Number
    cpu_ratio: Above | None = None


class RungForm(WorthForm):
    """A row of `ladder`; of `runtimes` either each by its name, or ``why`` there is none."""

    rung: str
    precision: str
    shipped: bool
    status: str | None = None
    why: str | None = None
    slower: bool | None = None
    p90_ms: Number | None = None
    cpu_ratio: Number | None = None
    bytes: Count | None = None
    seconds: Number | None = None
    runtime: str | None = None
    runtimes: dict[str, RuntimeForm | str] = {}
    noisiest_layers: list[str] | None = None
    float_layers: list[str] | None = None
    float_nodes: list[str] | None = None

    @model_validator(mode="after")
    def _timed(self) -> RungForm:
        if self.slower and self.cpu_ratio is None:
            raise ValueError("cpu_ratio should be a number where slower is true")
        return self


class ContestForm(Form):
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


class NeighboursForm(Form):
    k: Count
    n: Count
    accuracy: Number
    chance: Number
    p: Number


class FromSourceForm(Form):
    """How far examples are from what the backbone was trained on."""

    far: Number
    median: Number


class UnseenGroupForm(Form):
    """What a group costs that nothing was fitted on."""

    column: str
    groups: Count
    apart: Number
    mixed: Number
    cost_pp: Number
    ci95_pp: Span


class WarningForm(Form):
    message: str
    measured_pp: Number | None = None


class SoundnessForm(Form):
    tested: bool
    reason: str | None = None
    neighbours: NeighboursForm | None = None
    source: FromSourceForm | None = None
    unseen: UnseenGroupForm | None = None
    comparisons: list[ContestForm] = []
    warnings: list[WarningForm] = []


class ShiftForm(Form):
    auc: Number
    ci95: Span


class TrialForm(Form):
    method: str
    gain_pp: Number
    n: Count
    taken: bool


class AdaptationForm(Form):
    method: str
    shift: ShiftForm | None = None
    tried: list[TrialForm] = []
    comparison: ContestForm | None = None
    unmeasured: str = ""
    warnings: list[WarningForm] = []


class SuspectForm(Form):
    example: str
    given: str
    likely: str
    given_probability: Number
    likely_probability: Number


class GainForm(Form):
    gain_pp: Number
    ci95_pp: Span
    examples: Count


class ClassGainForm(Form):
    label: str
    more: Count
    gain_pp: Number
    ci95_pp: Span


class CurveForm(Form):
    now: Count
    sizes: Annotated[list[Count], Field(min_length=1)]
    error: Annotated[list[Number], Field(min_length=1)]
    falls: bool
    gains: list[GainForm]
    classes: list[ClassGainForm] = []

    @model_validator(mode="after")
    def _fits(self) -> CurveForm:
        if len(self.sizes) != len(self.error):
            raise ValueError("error should have a number for each of sizes")
        return self


class PairForm(Form):
    example: str
    split: str
    label: str | None
    other: str
    other_split: str
    other_label: str | None


class NearDuplicatesForm(Form):
    compared: Count
    examples: Count
    pairs: Count
    across: Count
    contrary: Count
    test_examples: Count
    listed: list[PairForm] = []


class LabellingForm(Form):
    judged: Count
    suspect: Count
    suspects: list[SuspectForm] = []
    curve: CurveForm | None = None
    near_duplicates: NearDuplicatesForm | None = None


class CandidateForm(Form):
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


class ChoiceForm(Form):
    candidates: list[CandidateForm]
    examples: Count
    why: str | None = None
    timed_on: str | None = None


class KindForm(Form):
    """What one kind of processor was seen to compute."""

    bit_equal: bool
    where: str | None = None
    examples: Count | None = None


class PortabilityForm(Form):
    portable_exact: bool
    kinds: dict[str, KindForm]


class SessionForm(Form):
    threads: Annotated[int, Field(ge=1, le=1024)]
    config: dict[Setting, str]


class SchemeForm(Form):
    activation: Literal["u8", "s8"] | None = None


class CompressionForm(Form):
    precision: Literal["w8a8", "fp16", "fp32"]
    ladder: list[RungForm]
    scheme: SchemeForm | None = None


class ParityForm(Form):
    max_abs: Number
    range: Number
    min_cosine: Number
    n: Count
    flips: Count | None = None


class SplitForm(Form):
    examples: Count
    digest: str


class DataForm(Form):
    splits: dict[str, SplitForm] = {}
    dropped: dict[str, Count] = {}
    notes: list[str] = []


class FitGainForm(Form):
    together = ("before", "after")
    """What a dearer fit gained over the probe; bundles of before told a log loss."""

    metric: str = ""
    before: Number | None = None
    after: Number | None = None
    ci95: Span


class HeldOutScoreForm(Form):
    metric: str
    value: Number | None
    n: Count
    by: str


class FitForm(Form):
    method: str | None = None
    cross_validated: list[dict[str, Any]] = []
    raced: dict[str, Number] = {}
    gain: FitGainForm | None = None
    held_out: HeldOutScoreForm | None = None


class BackboneForm(Form):
    source: str | None = None
    licence: Any = None
    parameters: Number | None = None
    macs: Number | None = None
    digest: str | None = None


class ConfidenceForm(Form):
    """When a decision is accepted, and of how many that was chosen."""

    temperature: Above
    threshold: Number
    right_accepted: Number
    wrong_rejected: Number | None
    n: Count


class AddedClassForm(Form):
    digests: list[Digest]


class BuildScoreForm(Form):
    """How the shipped model did on the test set of its build."""

    metric: str
    score: Number
    accuracy: Number
    accuracy_ci95: Span
    n: Size
    by_class: dict[str, RightOf]


class StudiedForm(Form):
    """What studies found: it stands in a manifest and in a report."""

    soundness: SoundnessForm | None = None
    adaptation: AdaptationForm | None = None
    labelling: LabellingForm | None = None
    choice: ChoiceForm | None = None
    recorded: BuildScoreForm | None = None


class ManifestForm(StudiedForm):
    format: Literal["edgetransfer.bundle/1"] = Field(alias="schema")
    target: TargetSpec
    recipe: Recipe
    session: SessionForm
    compression: CompressionForm
    files: dict[str, Digest]
    seal: Digest | None = None
    task: str = ""
    stored_as: dict[Literal["core.onnx", "reference.onnx"], Literal["model.onnx", "core.onnx"]] = {}
    beside: list[str] = []
    data: DataForm = DataForm()
    backbone: BackboneForm | None = None
    fit: FitForm | None = None
    export: ParityForm | None = None
    seed: int | None = None
    versions: dict[str, str | None] = {}
    added: list[AddedClassForm] = []
    confidence: ConfidenceForm | None = None


class PortForm(Form):
    """An input: its type, and its axes by size or name."""

    type: str
    shape: list[Size | str]


class DescriptionForm(Form):
    """What ``model.onnx`` says of itself, for whoever runs it."""

    version: str
    task: str
    labels: Annotated[list[str], Field(min_length=1)]
    inputs: dict[str, PortForm]
    before: str
    inside: str
    outputs: dict[str, str]
    core: Digest | None = None
    reference: Digest | None = None
    temperature: Annotated[str, Field(pattern=_DECIMAL)] = "1"
    threshold: Annotated[str, Field(pattern=_DECIMAL)] = "0"
