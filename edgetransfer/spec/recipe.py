"""The recipe: everything one build depends on, as one frozen, validated value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from edgetransfer.errors import SpecError
from edgetransfer.spec import options, tasks
from edgetransfer.spec.base import Positive, Share, Spec
from edgetransfer.spec.budget import Budget
from edgetransfer.spec.options import asked, takes_many
from edgetransfer.spec.outside import TOML, meant, toml_of, validated

Weight = Annotated[float, Field(ge=0)]
EPOCHS, TAUGHT_EPOCHS = 12, 30
RANK = 8
GUESSING = ("probe", "contrastive")  # after these a head may learn from texts without labels
AUTO_MINUTES = 3.0
"""What fine-tuning may take unasked: a build has its verdict in minutes."""
USUAL_METRIC = "top1"
TAUGHT_LEARNING_RATE = 2e-3
"""A teacher has more to say than the labels, so its student may go further without learning the
examples by heart. On ten classes of tiny-imagenet the same schedule without a teacher never beat
the probe it started from (`benchmarks/distillation.py`)."""


class DataSpec(Spec):
    """Where the labelled examples are and what their columns mean.

    Columns that are not named: label, category, class or intent; text; file, image or path.
    """

    source: str = Field(..., **asked("data"))
    label_column: str | None = Field(None, **asked("label_column"))
    text_column: str | None = Field(None, **asked("text_column"))
    file_column: str | None = Field(None, **asked("file_column"))
    split_by: str | None = Field(None, **asked("split_by"))
    group_by: tuple[str, ...] = Field((), **asked("group_by"))


class BackboneSpec(Spec):
    """Which pretrained network to start from."""

    source: str = Field("builtin:tiny-64", **asked("backbone"))
    candidates: tuple[str, ...] = Field((), **asked("candidate"))  # default: all built-in ones

    @field_validator("candidates")
    @classmethod
    def _to_choose_from(cls, candidates: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if candidates and info.data.get("source") != options.AUTO:
            raise ValueError("needs --backbone auto, which chooses")
        return candidates


class FitSpec(Spec):
    """How the backbone is fitted to the examples."""

    method: options.FitMethod = Field("auto", **asked("fit"))
    epochs: int | None = Field(None, ge=1, le=1000, **asked("epochs"))
    learning_rate: Positive | None = Field(None, **asked("learning_rate"))
    batch_size: int = Field(32, ge=1, le=4096, **asked("batch_size"))
    time_budget: Positive | None = Field(None, **asked("time_budget"))
    device: str | None = Field(None, **asked("device"))  # default: the fastest there is
    label_smoothing: Share = Field(0.0, description="share of a label spread over all classes")
    averaging: Share = Field(0.0, description="share of the old in a running mean of the weights")
    l2_sp: Weight = Field(0.0, description="pull towards the pretrained weights (Li et al. 2018)")
    balanced: bool = Field(False, description="draw every class as often as another")
    gradual: bool = Field(False, description="free one more group of layers an epoch")
    rank: int | None = Field(
        None, ge=1, le=1024, description="of the adapters of --fit lora: 8 (Hu et al. 2022)"
    )

    @field_validator("gradual", "rank")
    @classmethod
    def _goes_with_the_method(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value and (info.data.get("method") == "lora") == (info.field_name == "gradual"):
            msg = "--fit lora takes a rank and frees no layers; other methods have no rank"
            raise ValueError(msg)
        return value


class AdaptSpec(Spec):
    """Domain adaptation of what is fitted on labelled pictures to those that the device sees."""

    method: options.AdaptMethod = Field("none", **asked("adapt"))
    device_part: str | None = Field(None, validate_default=True, **asked("device_part"))

    @field_validator("device_part")
    @classmethod
    def _names_a_part(cls, part: str | None, info: ValidationInfo) -> str | None:
        method = info.data.get("method", "none")
        if part is None and method == options.AUTO:
            msg = "--adapt auto chooses by labelled examples of the device: name them COLUMN=VALUE"
            raise ValueError(msg)
        if part is not None and method == "none":
            raise ValueError("judges an adaptation, and --adapt names none")
        if part is not None and not all(part.partition("=")):
            raise ValueError("expected COLUMN=VALUE")
        return part


class DistillSpec(Spec):
    """What a larger network teaches the one that is shipped.

    The defaults were chosen on other classes and pictures than `benchmarks/distillation.py` judges
    on; there, hints and relations on top of soft targets brought nothing that stood out of noise.
    """

    source: str | None = Field(None, **asked("distill_from"))
    unlabelled: str | None = Field(None, **asked("unlabelled"))
    fit: options.TeacherFit = Field("probe", description="how the teacher is fitted first")
    temperature: Positive = Field(4.0, description="what logits are divided by")
    labels: Weight = Field(1.0, description="weight of the cross-entropy to the labels")
    soft: Weight = Field(1.0, description="weight of the softened decisions")
    hints: Weight = Field(0.3, description="weight of the features through a linear map")
    relations: Weight = Field(0.0, description="weight of distances and angles in a batch")


class QuantSpec(Spec):
    """How numbers are stored and calibrated."""

    precision: options.PrecisionChoice = Field("auto", **asked("precision"))
    calibration: str = Field("default", **asked("calibration"))
    also: tuple[options.OtherFormat, ...] = Field((), **asked("also"))


class Recipe(Spec):
    """One build, whole: the same recipe on the same data gives the same artefacts."""

    data: DataSpec
    backbone: BackboneSpec = BackboneSpec()
    fit: FitSpec = FitSpec()
    adapt: AdaptSpec = AdaptSpec()
    distill: DistillSpec = Field(DistillSpec(), validate_default=True)
    quant: QuantSpec = QuantSpec()
    budget: Budget = Budget()
    targets: tuple[str, ...] = Field(("this-machine",), min_length=1, **asked("target"))
    task: str = Field(tasks.CLASSIFICATION, **asked("task"))
    metric: str = Field(USUAL_METRIC, validate_default=True, **asked("metric"))
    seed: int = Field(0, ge=0, lt=2**32, **asked("seed"))
    threads: int | None = Field(None, ge=1, le=256, **asked("threads"))  # default: the target's
    soundness: bool = Field(True, **asked("soundness"))
    timing: options.TimingEffort = Field("quick", **asked("timing"))
    show_examples: bool = Field(True, **asked("show_examples"))

    @field_validator("task")
    @classmethod
    def _is_registered(cls, task: str) -> str:
        if task not in tasks.TASKS:
            near = meant(task, tasks.TASKS)
            msg = ", ".join((f"expected {' or '.join(tasks.TASKS)}", *filter(None, [near])))
            raise ValueError(msg)
        return task

    @field_validator("metric")
    @classmethod
    def _of_the_task(cls, metric: str, info: ValidationInfo) -> str:
        """Check the metric; a task that does not know the usual one has its own first."""
        if "task" not in info.data:
            return metric  # that it cannot be has been said
        known = tasks.TASKS[info.data["task"]].metrics
        if metric == USUAL_METRIC and metric not in known:
            return known[0]
        if metric not in known:
            msg = f"Input should be {', '.join(map(repr, known[:-1]))} or {known[-1]!r}"
            raise ValueError(msg)
        return metric

    @field_validator("fit")
    @classmethod
    def _a_model_is_named(cls, fit: FitSpec, info: ValidationInfo) -> FitSpec:
        backbone = info.data.get("backbone")
        if fit.method == "none" and backbone is not None and backbone.source == options.AUTO:
            raise ValueError("takes your own model, and --backbone auto names none")
        return fit

    @field_validator("adapt")
    @classmethod
    def _a_head_is_moved(cls, adapt: AdaptSpec, info: ValidationInfo) -> AdaptSpec:
        fit = info.data.get("fit")
        if adapt.method != "none" and fit is not None and fit.method not in ("auto", "probe"):
            msg = f"goes with a frozen backbone: take --fit probe or auto, not {fit.method}"
            raise ValueError(msg)
        return adapt

    @field_validator("distill")
    @classmethod
    def _unlabelled_examples_serve(cls, distill: DistillSpec, info: ValidationInfo) -> DistillSpec:
        if "adapt" not in info.data:
            return distill  # that it cannot be has been said
        adapts = info.data["adapt"].method != "none"
        if adapts and distill.source is not None:
            raise ValueError("a teacher trains all layers, and --adapt goes with a frozen backbone")
        if adapts and distill.unlabelled is None:
            raise ValueError("--adapt needs the device's pictures: --unlabelled DIR")
        fit = info.data.get("fit")
        serves = adapts or distill.source is not None or (fit and fit.method in GUESSING)
        if distill.unlabelled is not None and not serves:
            also = "or for texts --fit contrastive or probe"
            raise ValueError(f"--unlabelled needs --distill-from or --adapt, {also}")
        return distill

    @field_validator("distill")
    @classmethod
    def _layers_learn(cls, distill: DistillSpec, info: ValidationInfo) -> DistillSpec:
        fit = info.data.get("fit")
        if distill.source is not None and fit and fit.method not in ("auto", "finetune"):
            msg = f"a teacher trains all layers: take --fit auto or finetune, not {fit.method}"
            raise ValueError(msg)
        return distill

    @property
    def trains_all_layers(self) -> bool:
        """Whether the network is fine-tuned whatever the probe comes to.

        >>> Recipe(data=DataSpec(source="photos")).trains_all_layers
        False
        """
        return self.fit.method == "finetune" or self.distill.source is not None

    @property
    def fits(self) -> bool:
        """Whether anything is fitted here.

        >>> Recipe(data=DataSpec(source="photos")).fits
        True
        """
        return self.fit.method != "none"

    @property
    def rank(self) -> int:
        """Rank of the adapters; 0 where there are none."""
        return (self.fit.rank or RANK) if self.fit.method == "lora" else 0

    @property
    def guesses(self) -> bool:
        """Whether a head is fitted on texts without labels beside the labelled ones."""
        unclaimed = self.distill.source is None and not self.adapts
        return self.distill.unlabelled is not None and unclaimed

    @property
    def adapts(self) -> bool:
        """Whether what is fitted is adapted to the device's pictures."""
        return self.adapt.method != "none"

    @property
    def grouped_by(self) -> tuple[str, ...]:
        """Columns to report accuracy for: those that were named, and the device part's."""
        column = (self.adapt.device_part or "").partition("=")[0]
        return tuple(dict.fromkeys((*self.data.group_by, *([column] if column else []))))

    @property
    def epochs(self) -> int:
        """Passes over the data at most."""
        return self.fit.epochs or (EPOCHS if self.distill.source is None else TAUGHT_EPOCHS)

    @property
    def time_budget(self) -> float | None:
        """Minutes that fine-tuning may take; None for no limit, as whoever asks for it has."""
        unasked = self.fit.method == "auto" and not self.trains_all_layers
        return self.fit.time_budget or (AUTO_MINUTES if unasked else None)

    @property
    def learning_rate(self) -> float | None:
        """The largest share of a layer's typical weight that one step may move; None: raced."""
        taught = None if self.distill.source is None else TAUGHT_LEARNING_RATE
        return self.fit.learning_rate or taught


def _places(spec: type[Spec], above: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, field in spec.model_fields.items():
        extra, kind = field.json_schema_extra, field.annotation
        if isinstance(extra, dict) and "option" in extra:
            yield str(extra["option"]), (*above, name)
        elif isinstance(kind, type) and issubclass(kind, Spec):
            yield from _places(kind, (*above, name))


PLACES: Mapping[str, tuple[str, ...]] = dict(_places(Recipe))
"""Where each option stands in a recipe."""


def recipe_from(given: Mapping[str, Any], recipe_file: Path | None = None) -> Recipe:
    """Make a recipe: what is in the TOML file, and over it every option that was given.

    Options are named as in `PLACES`; None and empty values count as not given. The SpecError of a
    file or option that is not valid names every problem by its option.
    """
    raw = toml_of(recipe_file) if recipe_file is not None else {}
    for name, value in given.items():
        if value is None or value == () or value == []:
            continue
        if takes_many(name) and isinstance(value, str):
            value = [value]
        _put(raw, PLACES[name], tuple(value) if isinstance(value, list) else value)
    data = raw.get("data", {})
    if isinstance(data, dict) and "source" not in data:
        raise SpecError(
            "no data was named",
            where="command line" if recipe_file is None else str(recipe_file),
            expected="a folder of pictures or a table: edgetransfer build DATA",
        )
    where = "command line" if recipe_file is None else f"command line and {recipe_file}"
    spelled = {path: "--" + name.replace("_", "-") for name, path in PLACES.items()}
    return validated(Recipe, raw, where, TOML, spelled)


def _put(raw: dict[str, Any], place: tuple[str, ...], value: Any) -> None:  # noqa: ANN401 (an option's)
    """Set one field, unless the file has something else than a table there, which is refused."""
    table: Any = raw
    for parent in place[:-1]:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            return
    table[place[-1]] = value
