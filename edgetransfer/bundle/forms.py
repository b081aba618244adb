"""The form of every JSON file of a bundle: what its readers rely on, and within which bounds.

Fields that are not named here are for later versions and other readers; those with a default are
newer than the first bundles. Numbers are bounded so that whoever shows them can compute with them.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from edgetransfer.spec.recipe import Recipe
from edgetransfer.spec.target import Setting, TargetSpec

_FAR = 1e12


class Form(BaseModel):
    """A JSON object that was written by some version of this package."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


def _rises(span: list[Any]) -> list[Any]:
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
RightOf = Annotated[list[Count], Field(min_length=2, max_length=2), AfterValidator(_rises)]
"""How many were right, of how many."""
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def all_or_none(form: BaseModel, names: tuple[str, ...]) -> None:
    """Refuse numbers that are told in part: whoever shows the first relies on the others."""
    lacking = [name for name in names if getattr(form, name) is None]
    if lacking and len(lacking) < len(names):
        msg = f"{', '.join(lacking)} should be a number where {names[0]} is one"
        raise ValueError(msg)


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


class Kind(Form):
    """What one kind of processor was seen to compute."""

    bit_equal: bool
    where: str | None = None
    examples: Count | None = None


class Portability(Form):
    """``portability.json``, and the block of that name."""

    portable_exact: bool
    kinds: dict[str, Kind]


class Session(Form):
    """How the runtime is started."""

    threads: Annotated[int, Field(ge=1, le=1024)]
    config: dict[Setting, str]


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


class Gained(Form):
    """What a dearer fit gained over the probe; bundles of before told a log loss."""

    metric: str = ""
    before: Number | None = None
    after: Number | None = None
    ci95: Span

    @model_validator(mode="after")
    def _whole(self) -> Gained:
        all_or_none(self, ("before", "after"))
        return self


class HeldOut(Form):
    """How a fit did on what it had not seen."""

    metric: str
    value: Number | None
    n: Count
    by: str


class Fit(Form):
    """How the network was fitted."""

    method: str | None = None
    cross_validated: list[dict[str, Any]] = []
    raced: dict[str, Number] = {}
    gain: Gained | None = None
    held_out: HeldOut | None = None


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


class Recorded(Form):
    """How the shipped model did on the test set of its build."""

    metric: str
    score: Number
    accuracy: Number
    accuracy_ci95: Span
    n: Size
    by_class: dict[str, RightOf]


class Manifest(Form):
    """``manifest.json``."""

    format: Literal["edgetransfer.bundle/1"] = Field(alias="schema")
    target: TargetSpec
    recipe: Recipe
    session: Session
    compression: Compression
    files: dict[str, Digest]
    seal: Digest
    beside: list[str] = []
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
    recorded: Recorded | None = None


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
