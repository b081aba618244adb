"""The options of the command line, each written once."""

from pathlib import Path
from typing import Annotated

import typer

from edgetransfer.spec.words import (
    AdaptMethod,
    FitMethod,
    MetaMethod,
    Metric,
    PrecisionChoice,
    TimingEffort,
)

_DATA, _MODEL, _BUDGET, _RUN = "Data", "Model", "Budget", "Run"

Data = Annotated[
    str | None,
    typer.Argument(help="A folder of pictures, or a CSV, TSV, JSONL or Parquet table."),
]
Bundle = Annotated[Path, typer.Argument(help="A folder that `build` wrote: OUT/TARGET.")]
Wheels = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="With --on ssh:HOST: wheels for the device, for this run."),
]
Python = Annotated[
    str | None,
    typer.Option(metavar="PATH", help="With --on ssh:HOST: the Python to use there."),
]
LabelColumn = Annotated[str | None, typer.Option(help="Column of labels.", rich_help_panel=_DATA)]
TextColumn = Annotated[str | None, typer.Option(help="Column of texts.", rich_help_panel=_DATA)]
FileColumn = Annotated[
    str | None, typer.Option(help="Column of picture files.", rich_help_panel=_DATA)
]
SplitBy = Annotated[
    str | None,
    typer.Option(
        help="Column whose values stay on one side: speaker, patient, site.", rich_help_panel=_DATA
    ),
]
GroupBy = Annotated[
    list[str] | None,
    typer.Option(help="Column to report accuracy by; repeatable.", rich_help_panel=_DATA),
]
Target = Annotated[
    list[str] | None,
    typer.Option(help="Device to build for; repeatable. See `targets`.", rich_help_panel=_MODEL),
]
Backbone = Annotated[
    str | None,
    typer.Option(
        help="hf:ORG/NAME, timm:NAME, builtin:NAME, a folder or a .onnx file; auto chooses.",
        rich_help_panel=_MODEL,
    ),
]
Candidate = Annotated[
    list[str] | None,
    typer.Option(
        help="With --backbone auto: what to choose from; repeatable.", rich_help_panel=_MODEL
    ),
]
Ranked = Annotated[
    list[str] | None,
    typer.Option("--backbone", help="What to rank; repeatable. Default: all built-in ones."),
]
Page = Annotated[Path, typer.Option("--out", metavar="FILE", help="The page that is written.")]
Fit = Annotated[
    FitMethod | None,
    typer.Option(help="How to fit; `none` takes your own model.", rich_help_panel=_MODEL),
]
Epochs = Annotated[
    int | None, typer.Option(help="Fine-tuning epochs at most.", rich_help_panel=_MODEL)
]
TimeBudget = Annotated[
    float | None,
    typer.Option(metavar="MIN", help="Minutes fine-tuning may take.", rich_help_panel=_MODEL),
]
Device = Annotated[
    str | None,
    typer.Option(help="Where fine-tuning runs: cpu, cuda, mps.", rich_help_panel=_MODEL),
]
DistillFrom = Annotated[
    str | None,
    typer.Option(
        help="A larger network that teaches: as --backbone, or a fitted .onnx file.",
        rich_help_panel=_MODEL,
    ),
]
Unlabelled = Annotated[
    str | None,
    typer.Option(
        metavar="PATH",
        help="Examples without labels: pictures for a teacher or, with --adapt, the device's; "
        "texts for --fit contrastive or probe.",
        rich_help_panel=_MODEL,
    ),
]
Adapt = Annotated[
    AdaptMethod | None,
    typer.Option(
        help="How to move to the pictures that the device sees (--unlabelled).",
        rich_help_panel=_MODEL,
    ),
]
DevicePart = Annotated[
    str | None,
    typer.Option(
        metavar="COL=VALUE",
        help="Labelled examples of the device: --adapt is judged by them.",
        rich_help_panel=_MODEL,
    ),
]
Precision = Annotated[
    PrecisionChoice | None,
    typer.Option(help="How numbers are stored.", rich_help_panel=_MODEL),
]
Calibration = Annotated[
    str | None,
    typer.Option(help="Calibration recipe: a name or a .toml file.", rich_help_panel=_MODEL),
]
MetricName = Annotated[
    Metric | None, typer.Option("--metric", help="What accuracy means.", rich_help_panel=_BUDGET)
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        metavar="PP", help="Accuracy points that may be lost (2.0).", rich_help_panel=_BUDGET
    ),
]
MaxLatency = Annotated[
    float | None,
    typer.Option("--max-latency-ms", metavar="MS", help="p90 at most.", rich_help_panel=_BUDGET),
]
MaxSize = Annotated[
    float | None,
    typer.Option(
        "--max-size-mib", metavar="MIB", help="Size of model.onnx.", rich_help_panel=_BUDGET
    ),
]
MaxFlips = Annotated[
    float | None,
    typer.Option(metavar="PCT", help="Changed decisions at most.", rich_help_panel=_BUDGET),
]
MinSqnr = Annotated[
    float | None,
    typer.Option(metavar="DB", help="Signal to noise of the logits.", rich_help_panel=_BUDGET),
]
MaxKl = Annotated[
    float | None,
    typer.Option(metavar="NATS", help="Mean KL divergence at most.", rich_help_panel=_BUDGET),
]
MaxEceChange = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Change of calibration error.", rich_help_panel=_BUDGET),
]
MaxClassDrop = Annotated[
    float | None,
    typer.Option(metavar="PP", help="Recall that any class may lose.", rich_help_panel=_BUDGET),
]
MinAccuracy = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Accuracy to reach, 0 to 1.", rich_help_panel=_BUDGET),
]
MinMacroF1 = Annotated[
    float | None,
    typer.Option(
        "--min-macro-f1", metavar="SHARE", help="Macro-F1 to reach.", rich_help_panel=_BUDGET
    ),
]
MinRecall = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS=SHARE",
        help="Recall of a class to reach; repeatable.",
        rich_help_panel=_BUDGET,
    ),
]
Out = Annotated[Path, typer.Option(help="Where the bundles go.", rich_help_panel=_RUN)]
RecipeFile = Annotated[
    Path | None,
    typer.Option(
        "--recipe", metavar="FILE", help="TOML file; options win over it.", rich_help_panel=_RUN
    ),
]
Seed = Annotated[int | None, typer.Option(help="Of splits and fits (0).", rich_help_panel=_RUN)]
On = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHERE",
        help="Where to measure: local, ssh:HOST, qemu:arm64, browser, adb:SERIAL; repeatable.",
        rich_help_panel=_RUN,
    ),
]
Sustained = Annotated[
    str | None,
    typer.Option(
        metavar="10m",
        help="Also let it work for so long without a rest, and tell what it loses.",
        rich_help_panel=_RUN,
    ),
]
Energy = Annotated[
    bool,
    typer.Option(
        "--energy",
        help="Also measure the energy of an inference, where the device counts it.",
        rich_help_panel=_RUN,
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(help="Threads of the measured model.", rich_help_panel=_RUN),
]
Timing = Annotated[
    TimingEffort | None,
    typer.Option(help="`quick` for a first look.", rich_help_panel=_RUN),
]
Soundness = Annotated[
    bool | None,
    typer.Option(
        "--soundness/--no-soundness",
        help="Ask whether a random network would do as well.",
        rich_help_panel=_MODEL,
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        min=1, help="How many processes the launcher has to have started.", rich_help_panel=_RUN
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Where finished stages are kept.", rich_help_panel=_RUN),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.", rich_help_panel=_RUN)]
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Exit 8 unless it is a sound PASS.", rich_help_panel=_RUN),
]
Ways = Annotated[int, typer.Option(min=2, help="Classes of an episode.")]
Shots = Annotated[str, typer.Option(help="Examples a class to learn from; a list with commas.")]
Queries = Annotated[int, typer.Option(min=1, help="Examples a class to judge by.")]
ShotsLearnt = Annotated[int, typer.Option("--shots", min=1, help="Examples a class to learn from.")]
EpisodesLearnt = Annotated[int, typer.Option("--episodes", min=1, help="Episodes to learn from.")]
Meta = Annotated[MetaMethod, typer.Option(help="What is learnt over episodes.")]
Minutes = Annotated[
    float | None,
    typer.Option("--time-budget", min=0.01, metavar="MIN", help="Minutes after which it ends."),
]
Start = Annotated[Path, typer.Option(help="Folder of the weights; opens with --backbone.")]
EpisodeCount = Annotated[int, typer.Option("--episodes", min=2, help="Episodes to average over.")]
