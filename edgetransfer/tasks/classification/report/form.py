"""The form of what ``report.json`` says of classes: see docs/report.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgetransfer.bundle.forms import Count, Form, Number, Span


class AccuracyForm(Form):
    """The metric of both models, and its change."""

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
            msg = "n should be a number where reference is one"
            raise ValueError(msg)
        return self


class GroupForm(AccuracyForm):
    """The same among the examples of a group."""

    column: str
    value: str


class RecallForm(Form):
    """How a class fares."""

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


class SharesForm(Form):
    """How far the shares of the classes move."""

    kl_mean: Number | None


class NotableForm(Form):
    """An example and what both models decide; null for none, as without labels."""

    example: str
    label: str | None
    reference: str | None
    candidate: str | None
    share: Number | None


class ClassesForm(Form):
    """The blocks of a report that are about classes."""

    labels: tuple[str, ...] = ()
    accuracy: AccuracyForm
    numeric: SharesForm
    per_class: list[RecallForm]
    confusion: ConfusionForm = ConfusionForm(reference=[], candidate=[])
    groups: list[GroupForm]
    notable: dict[Literal["changed", "wrong"], list[NotableForm]] = Field({})

    @model_validator(mode="after")
    def _fits(self) -> ClassesForm:
        cells = [*self.confusion.reference, *self.confusion.candidate]
        most = max((max(row, column) for row, column, _ in cells), default=-1)
        if most >= len(self.labels) or (cells and len(self.per_class) != len(self.labels)):
            msg = "confusion and per_class should be of as many classes as there are labels"
            raise ValueError(msg)
        return self
