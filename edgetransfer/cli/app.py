"""The commands: each parses, calls one use case, and renders what comes back.

The commands about finished stages.
"""

import inspect
from pathlib import Path
from typing import Annotated

import typer

from edgetransfer.cli import matrix
from edgetransfer.cli import options as o
from edgetransfer.cli.doctor import doctor
from edgetransfer.cli.entry import main as main  # scripts installed before call it here
from edgetransfer.cli.heads import classes_app, head_app

cache_app = typer.Typer(no_args_is_help=True, help="What finished stages take on the disk.")


@cache_app.command("list")
def cache_list(cache: o.Cache = None) -> None:
    """List finished stages, newest first."""
    from edgetransfer.cli import use

    use.cache_list(cache)


@cache_app.command("size")
def cache_size(cache: o.Cache = None) -> None:
    """Say how much is kept, and where."""
    from edgetransfer.cli import use

    use.cache_size(cache)


@cache_app.command("clean")
def cache_clean(
    cache: o.Cache = None,
    older_than: Annotated[
        float, typer.Option(min=0.0, metavar="DAYS", help="Keep what is newer.")
    ] = 0.0,
) -> None:
    """Delete finished stages; a later build makes them again."""
    from edgetransfer.cli import use

    use.cache_clean(cache, older_than)


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Fit a pretrained backbone to your examples, quantise it, and measure what it costs.",
)

app.add_typer(cache_app, name="cache")

app.command()(doctor)

app.add_typer(head_app, name="head")

app.add_typer(classes_app)

backbones_app = typer.Typer(
    invoke_without_command=True, help="List backbones, or rank them for your examples."
)

app.add_typer(backbones_app, name="backbones")

_OUT = Path("edgetransfer-out")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"edgetransfer {version('edgetransfer')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[  # taken off the command line, wherever it stands, by `entry`
        bool, typer.Option("--debug", help="Show the traceback of an error, after any command too.")
    ] = False,
) -> None:
    pass


@app.command()
def build(
    data: o.Data = None,
    target: o.Target = None,
    backbone: o.Backbone = None,
    candidate: o.Candidate = None,
    fit: o.Fit = None,
    epochs: o.Epochs = None,
    time_budget: o.TimeBudget = None,
    device: o.Device = None,
    distill_from: o.DistillFrom = None,
    unlabelled: o.Unlabelled = None,
    adapt: o.Adapt = None,
    device_part: o.DevicePart = None,
    soundness: o.Soundness = None,
    precision: o.Precision = None,
    calibration: o.Calibration = None,
    metric: o.MetricName = None,
    max_drop: o.MaxDrop = None,
    max_latency_ms: o.MaxLatency = None,
    max_size_mib: o.MaxSize = None,
    max_flips: o.MaxFlips = None,
    min_sqnr: o.MinSqnr = None,
    max_kl: o.MaxKl = None,
    max_ece_change: o.MaxEceChange = None,
    max_class_drop: o.MaxClassDrop = None,
    min_accuracy: o.MinAccuracy = None,
    min_macro_f1: o.MinMacroF1 = None,
    min_recall: o.MinRecall = None,
    label_column: o.LabelColumn = None,
    text_column: o.TextColumn = None,
    file_column: o.FileColumn = None,
    split_by: o.SplitBy = None,
    group_by: o.GroupBy = None,
    out: o.Out = _OUT,
    recipe: o.RecipeFile = None,
    seed: o.Seed = None,
    threads: o.Threads = None,
    timing: o.Timing = None,
    cache: o.Cache = None,
    json: o.Json = False,
    strict: o.Strict = False,
    processes: o.Processes = None,
) -> None:
    """Build for one or more targets, and end on a verdict for each."""
    from edgetransfer.cli import use

    use.build(dict(locals()))


@app.command()
def demo(
    out: o.Out = Path("demo-out"),
    cache: o.Cache = None,
    json: o.Json = False,
    strict: o.Strict = False,
) -> None:
    """Build on scikit-learn's digits for this machine: no data, no network."""
    from edgetransfer.cli import use

    use.demo(out, cache, as_json=json, strict=strict)


@app.command()
def bench(
    bundle: o.Bundle,
    data: Annotated[
        str | None, typer.Option(help="New examples, labelled or not; default: the golden ones.")
    ] = None,
    label_column: o.LabelColumn = None,
    text_column: o.TextColumn = None,
    file_column: o.FileColumn = None,
    group_by: o.GroupBy = None,
    on: o.On = None,
    sustained: o.Sustained = None,
    energy: o.Energy = False,
    wheels: o.Wheels = None,
    python: o.Python = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes; default: in BUNDLE/bench.")
    ] = None,
    json: o.Json = False,
    strict: o.Strict = False,
) -> None:
    """Measure a bundle on a device, and judge it by its own budget."""
    from edgetransfer.cli import use

    use.bench(dict(locals()))


@app.command()
def predict(
    bundle: o.Bundle,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Pictures or folders of them, texts in quotes, tables, .txt files, or - for lines "
            "of standard input.",
        ),
    ],
    text_column: o.TextColumn = None,
    file_column: o.FileColumn = None,
    json: o.Json = False,
) -> None:
    """Classify pictures, or texts, with the shipped model."""
    from edgetransfer.cli import use
    from edgetransfer.data.queries import Columns

    use.predict(bundle, inputs, Columns(text_column, file_column), as_json=json)


@app.command()
def targets(
    name: Annotated[str | None, typer.Argument(help="Show one in full.")] = None,
    json: o.Json = False,
) -> None:
    """List the devices that can be built for."""
    from edgetransfer.cli import use

    use.targets(name, as_json=json)


@backbones_app.callback()
def backbones(context: typer.Context, json: o.Json = False) -> None:
    """List the built-in backbones, and say what else can be given."""
    if context.invoked_subcommand is None:
        from edgetransfer.cli import use

        use.backbones(as_json=json)


@backbones_app.command("list")
def backbones_list(json: o.Json = False) -> None:
    """List the built-in backbones, and say what else can be given."""
    from edgetransfer.cli import use

    use.backbones(as_json=json)


@backbones_app.command("rank")
def backbones_rank(
    data: o.Data = None,
    backbone: o.Ranked = None,
    target: o.Target = None,
    label_column: o.LabelColumn = None,
    text_column: o.TextColumn = None,
    file_column: o.FileColumn = None,
    split_by: o.SplitBy = None,
    out: o.Page = Path("edgetransfer-ranking.html"),
    seed: o.Seed = None,
    threads: o.Threads = None,
    cache: o.Cache = None,
    json: o.Json = False,
) -> None:
    """Rank backbones for your examples: what each knows of them, and what it costs here."""
    from edgetransfer.cli import use

    use.rank(dict(locals()))


def plan(**options: object) -> None:
    """Show the resolved recipe and the stages, before any work; takes what `build` takes."""
    from edgetransfer.cli import use

    use.plan(options)


vars(plan)["__signature__"] = inspect.signature(build)

plan.__annotations__ = build.__annotations__

app.command()(plan)

app.command()(matrix.command(build))


@app.command()
def report(bundle: o.Bundle, json: o.Json = False) -> None:
    """Show the report of a bundle, and write its page again."""
    from edgetransfer.cli import use

    use.report(bundle, as_json=json)


@app.command()
def fewshot(
    data: o.Data = None,
    backbone: o.Backbone = None,
    ways: o.Ways = 5,
    shots: o.Shots = "1,5",
    queries: o.Queries = 15,
    episodes: o.EpisodeCount = 600,
    label_column: o.LabelColumn = None,
    text_column: o.TextColumn = None,
    file_column: o.FileColumn = None,
    seed: o.Seed = None,
    cache: o.Cache = None,
    json: o.Json = False,
) -> None:
    """Judge a frozen backbone by N-way K-shot episodes, for each kind of head."""
    from edgetransfer.cli import use

    use.fewshot(dict(locals()))


@app.command()
def pretrain(
    data: o.Data,
    method: o.Meta = "protonet",
    backbone: o.Backbone = None,
    out: o.Start = Path("edgetransfer-start"),
    ways: o.Ways = 5,
    shots: o.ShotsLearnt = 5,
    queries: o.Queries = 15,
    episodes: o.EpisodesLearnt = 500,
    minutes: o.Minutes = None,
    label_column: o.LabelColumn = None,
    file_column: o.FileColumn = None,
    seed: o.Seed = None,
    cache: o.Cache = None,
    json: o.Json = False,
) -> None:
    """Train a backbone over episodes of a source, to be fitted well to few examples."""
    from edgetransfer.cli import use

    use.pretrain(dict(locals()))
