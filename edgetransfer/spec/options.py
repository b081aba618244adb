"""What can be asked of a build: the command line's options and the keywords of `build()`.

Its type and its help are said here, limits, defaults and what goes with what by the recipe
(`spec.recipe`). `--help` reads this module, so pydantic is not loaded here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin, get_type_hints

from edgetransfer.errors import SpecError

AUTO = "auto"
"""The backbone that means: choose one."""
FitMethod = Literal["auto", "probe", "finetune", "lora", "contrastive", "none"]
AdaptMethod = Literal["none", "auto", "reweight", "align", "norms"]
MetaMethod = Literal["protonet", "anil", "maml"]
TeacherFit = Literal["probe", "finetune"]
PrecisionChoice = Literal["auto", "fp32", "fp16", "w8a8"]
OtherFormat = Literal["litert"]
TimingEffort = Literal["standard", "quick", "thorough"]
Metric = Literal["top1", "macro-f1", "balanced-accuracy"]
MODEL, BUDGET, DATA, RUN = PANELS = ("Model", "Budget", "Data", "Run")
"""Headings of `--help`, in its order."""


@dataclass(frozen=True)
class Option:
    """How one option is shown.

    Attributes:
        help: what it is, as `--help` and the recipe's schema say it.
        panel: the heading that it stands under.
        metavar: what stands for its value; None for its type.
        shell: whether the command line has it, or Python and recipe files alone.
        many: whether the command line takes several where Python takes one.
        off: what the command line takes to switch it off; empty for nothing.
    """

    help: str
    panel: str | None = None
    metavar: str | None = None
    shell: bool = True
    many: bool = False
    off: str = ""


_EXAMPLES = "Show examples in the report: what changed, the worst errors, labels that look wrong."
_TIMING = "How long latencies are measured (build: quick, bench: standard)."


class ColumnOptions(TypedDict, total=False):
    """What the columns of a table are called, and what they are for."""

    label_column: Annotated[str, Option("Column of labels.", DATA)]
    text_column: Annotated[str, Option("Column of texts.", DATA)]
    file_column: Annotated[str, Option("Column of picture files.", DATA)]
    group_by: Annotated[Sequence[str], Option("Column to report accuracy by; repeatable.", DATA)]


class Options(ColumnOptions, total=False):
    """The keywords of `edgetransfer.build`."""

    target: Annotated[
        Sequence[str],
        Option("Device to build for; repeatable. See `edgetransfer targets`.", MODEL),
    ]
    backbone: Annotated[
        str,
        Option(
            "hf:ORG/NAME, timm:NAME, builtin:NAME, a folder or a .onnx file; auto chooses.", MODEL
        ),
    ]
    candidate: Annotated[
        Sequence[str], Option("With --backbone auto: what to choose from; repeatable.", MODEL)
    ]
    fit: Annotated[
        FitMethod, Option("How to fit; `none` takes a model that you fitted as it is.", MODEL)
    ]
    epochs: Annotated[int, Option("Largest number of fine-tuning epochs.", MODEL)]
    learning_rate: Annotated[
        float,
        Option(
            "Largest change of a layer in one step, as a share of its typical weight.", shell=False
        ),
    ]
    batch_size: Annotated[int, Option("Examples of one step of fine-tuning.", shell=False)]
    time_budget: Annotated[
        float, Option("Largest number of minutes for fine-tuning.", MODEL, "MIN")
    ]
    device: Annotated[str, Option("Where fine-tuning runs: cpu, cuda, mps.", MODEL)]
    distill_from: Annotated[
        str, Option("Larger network to distil from: as --backbone, or a fitted .onnx file.", MODEL)
    ]
    unlabelled: Annotated[
        str,
        Option(
            "Examples without labels: pictures for a teacher or, with --adapt, the device's; "
            "texts for --fit contrastive or probe.",
            MODEL,
            "PATH",
        ),
    ]
    adapt: Annotated[
        AdaptMethod,
        Option("Domain adaptation to the pictures that the device sees (--unlabelled).", MODEL),
    ]
    device_part: Annotated[
        str,
        Option("Labelled examples of the device: --adapt is judged by them.", MODEL, "COL=VALUE"),
    ]
    soundness: Annotated[
        bool,
        Option("Compare with a random network and simple baselines.", MODEL, off="no-soundness"),
    ]
    precision: Annotated[
        PrecisionChoice, Option("Number format of the shipped model; auto chooses.", MODEL)
    ]
    calibration: Annotated[str, Option("Calibration recipe: a name or a .toml file.", MODEL)]
    also: Annotated[
        Sequence[str],
        Option("Write and measure the network for another runtime too: litert.", MODEL),
    ]
    metric: Annotated[
        Metric, Option("Metric of the accuracy limits, and of what is chosen.", BUDGET)
    ]
    max_drop: Annotated[float, Option("Largest loss of accuracy, in points (2.0).", BUDGET, "PP")]
    max_latency_ms: Annotated[
        float, Option("Largest 90th percentile of the latency.", BUDGET, "MS")
    ]
    max_size_mib: Annotated[float, Option("Largest size of model.onnx.", BUDGET, "MIB")]
    max_flips: Annotated[float, Option("Largest share of changed decisions.", BUDGET, "PCT")]
    min_sqnr: Annotated[
        float, Option("Smallest signal-to-noise ratio of the outputs.", BUDGET, "DB")
    ]
    max_kl: Annotated[
        float,
        Option("Largest mean KL divergence of the outputs.", BUDGET, "KL"),
    ]
    max_ece_change: Annotated[
        float, Option("Largest change of the expected calibration error.", BUDGET, "SHARE")
    ]
    max_class_drop: Annotated[
        float, Option("Largest loss of recall of any class, in points.", BUDGET, "PP")
    ]
    min_accuracy: Annotated[
        float, Option("Smallest accuracy of the shipped model, 0 to 1.", BUDGET, "SHARE")
    ]
    min_macro_f1: Annotated[
        float, Option("Smallest macro-F1 of the shipped model.", BUDGET, "SHARE")
    ]
    min_recall: Annotated[
        Mapping[str, float] | Sequence[str],
        Option("Smallest recall of a class; repeatable.", BUDGET, "CLASS=SHARE"),
    ]
    task: Annotated[str, Option("What a label is: classification, or a registered task.", DATA)]
    split_by: Annotated[
        str, Option("Column of groups that stay in one split: speaker, patient, site.", DATA)
    ]
    seed: Annotated[int, Option("Seed of splits and fits (0).", RUN)]
    threads: Annotated[int, Option("Threads of the measured model.", RUN)]
    timing: Annotated[TimingEffort, Option(_TIMING, RUN)]
    show_examples: Annotated[bool, Option(_EXAMPLES, RUN, off="no-examples")]


class _Build(Options, total=False):
    data: Annotated[str, Option("A folder of pictures, or a CSV, TSV, JSONL or Parquet table.")]


class BenchOptions(ColumnOptions, total=False):
    """The keywords of `edgetransfer.bench`."""

    on: Annotated[
        str,
        Option(
            "Where to measure: local, ssh:HOST, qemu:arm64, browser, adb:SERIAL; repeatable.",
            RUN,
            "WHERE",
            many=True,
        ),
    ]
    examples: Annotated[
        int, Option("Run at most so many examples, drawn by label with a seed.", DATA, "N")
    ]
    sustained: Annotated[
        str,
        Option("Also run it so long without a rest, and report what speed it loses.", RUN, "10m"),
    ]
    energy: Annotated[
        bool, Option("Also measure the energy of an inference, where the device counts it.", RUN)
    ]
    as_target: Annotated[
        str,
        Option(
            "Run the bundle's network with the runtime and settings of this target.",
            RUN,
            "TARGET",
        ),
    ]
    wheels: Annotated[
        str | Path,
        Option("With --on ssh:HOST: wheels for the device, for this run.", metavar="DIR"),
    ]
    python: Annotated[str, Option("With --on ssh:HOST: the Python to use there.", metavar="PATH")]
    timing: Annotated[TimingEffort, Option(_TIMING, RUN)]
    show_examples: Annotated[bool, Option(_EXAMPLES, RUN, off="no-examples")]


_HINTS = get_type_hints(_Build, include_extras=True)
SHELL = tuple(
    sorted(
        (name for name, each in _HINTS.items() if each.__metadata__[0].shell),
        key=lambda name: PANELS.index(_HINTS[name].__metadata__[0].panel or MODEL),
    )
)
"""Names of what `edgetransfer build` takes, in the order of its `--help`."""
BENCH = tuple(get_type_hints(BenchOptions))
"""Names of what `edgetransfer bench` takes."""
_HINTS |= get_type_hints(BenchOptions, include_extras=True)
OPTIONS: Mapping[str, Option] = {name: each.__metadata__[0] for name, each in _HINTS.items()}
TYPES: Mapping[str, Any] = {name: get_args(each)[0] for name, each in _HINTS.items()}


def asked(name: str) -> dict[str, Any]:
    """Return what the field of a recipe is told of its option, for pydantic's `Field`."""
    return {"description": OPTIONS[name].help, "json_schema_extra": {"option": name}}


def takes_many(name: str) -> bool:
    """Whether an option may be given again and again."""
    kind = TYPES[name]
    return OPTIONS[name].many or any(
        get_origin(each) is Sequence for each in (kind, *get_args(kind))
    )


_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(text: str, option: str) -> float:
    """Read a duration in seconds.

    Raises:
        SpecError: it is none.

    >>> seconds_of("10m", "--sustained"), seconds_of("1.5h", "--sustained")
    (600.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if found is None or float(found[1]) == 0:
        raise SpecError(
            "not a duration", where=option, found=repr(text), expected="a number and s, m or h: 10m"
        )
    return float(found[1]) * _UNITS[found[2]]
