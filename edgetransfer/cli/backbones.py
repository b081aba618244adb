"""The commands about backbones: list and rank them, judge and train them over episodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetransfer.bundle.files import writing
from edgetransfer.cli import options as o
from edgetransfer.cli.terminal import Console, TerminalReporter, print_json, show, table
from edgetransfer.spec.options import MetaMethod

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.pipeline.stage.run import Run

_COLUMNS = {
    "knows": (
        ("accuracy", "accuracy", "{:.3f}", 1.0),
        ("log loss", "log_loss", "{:.3f}", 1.0),
        ("LogME", "logme", "{:.3f}", 1.0),
        ("H-score", "h_score", "{:.3f}", 1.0),
    ),
    "costs": (
        ("weights", "parameters", "{:.2f} M", 1e6),
        ("MACs", "macs", "{:.0f} M", 1e6),
        ("float", "float_bytes", "{:.1f} MiB", 2.0**20),
        ("int8", "int8_bytes", "{:.1f} MiB", 2.0**20),
        ("p90 ms", "float_p90_ms", "{:.2f}", 1.0),
        ("int8 ms", "int8_p90_ms", "{:.2f}", 1.0),
    ),
}
_START = Path("edgetransfer-start")
_LONGEST = 22
"""Characters of a name; of a path the end is what tells folders apart."""


def backbones(context: typer.Context, json: o.Json = False) -> None:
    """List the built-in backbones, and say what else can be given."""
    if context.invoked_subcommand is None:
        listed(json=json)


def listed(json: o.Json = False) -> None:
    """List the built-in backbones, and say what else can be given."""
    from edgetransfer.backbone.sources import WEIGHTS, builtin_names
    from edgetransfer.bundle.files import read_json

    cards = [read_json(WEIGHTS / name / "card.json") for name in builtin_names()]
    if json:
        print_json(cards)
        return
    rows = []
    for card in cards:
        height, width = card["input_size"]
        size = f"{card['parameters'] / 1e6:.2f} M"
        rows.append((f"builtin:{card['name']}", size, f"{height} x {width}", card["license"]))
    console = Console()
    columns = ("backbone", "parameters", "input", "licence")
    console.print(table(columns, rows, right=["parameters"]))
    console.print(
        "\nAlso: hf:ORG/NAME (transformers), timm:NAME, a local folder in either layout,\n"
        "or your own fitted model with --fit none: a transformers folder or a .onnx file."
    )


@o.asks(
    "data", "target", "label_column", "text_column", "file_column", "split_by", "seed", "threads"
)
def rank(
    asked: o.Asked,
    backbone: o.Ranked = None,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The page that is written.")
    ] = Path("edgetransfer-ranking.html"),
    cache: o.Cache = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Rank backbones for your examples: what each knows of them, and what it costs here."""
    from edgetransfer.backbone.sources import candidates_of
    from edgetransfer.pipeline.fit.data import read_data
    from edgetransfer.tasks.classification.rank import rank as run
    from edgetransfer.tasks.classification.report.candidates import render_ranking

    candidates_of(backbone or (), option="--backbone")  # what they are called, if one is missing
    resolved = _resolved({**asked, "backbone": "auto", "candidate": backbone}, cache, quiet=quiet)
    record = run(resolved, read_data(resolved), resolved.candidates)
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(render_ranking(record), encoding="utf-8")
    if json:
        print_json(record)
    else:
        _show_ranking(record, out)


def _resolved(asked: o.Asked, cache: Path | None, *, quiet: bool) -> Run:
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.spec.recipe import recipe_from

    return resolve(recipe_from(asked), o.store_at(cache), TerminalReporter(quiet=quiet))


def _show_ranking(record: Mapping[str, Any], page: Path) -> None:
    """Print what each backbone knows and costs, best first, and where the page is."""
    console = Console()
    for title, columns in _COLUMNS.items():
        heads = [head for head, *_ in columns]
        rows = [
            (
                ("* " if row["on_front"] else "  ") + _short(row["backbone"]),
                *(form.format(row[k] / unit) if k in row else "-" for _, k, form, unit in columns),
            )
            for row in record["candidates"]
        ]
        console.print(table((f"  {title}", *heads), rows, right=heads, no_wrap=True))
        console.print()
    if "timed_on" in record:
        console.unbroken(f"* nothing is both as accurate and as fast, on {record['timed_on']}")
    else:
        console.print("not timed: this machine is not the target")
    console.unbroken(f"  {page}")


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :]


@o.asks("data", "backbone", "label_column", "text_column", "file_column", "seed")
def fewshot(
    asked: o.Asked,
    ways: o.Ways = 5,
    shots: Annotated[
        str, typer.Option(help="Examples a class to learn from; a list with commas.")
    ] = "1,5",
    queries: o.Queries = 15,
    episodes: Annotated[int, typer.Option(min=2, help="Episodes to average over.")] = 600,
    cache: o.Cache = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Judge a frozen backbone by N-way K-shot episodes, for each kind of head."""
    from dataclasses import asdict

    from edgetransfer.tasks.classification.pretrain import EpisodeTrial
    from edgetransfer.tasks.classification.pretrain import fewshot as run

    trial = EpisodeTrial(ways, o.whole_numbers(shots, "--shots", least=1), queries, episodes)
    scores = run(_resolved(asked, cache, quiet=quiet), trial)
    if json:
        print_json({**asdict(trial), "scores": [asdict(each) for each in scores]})
        return
    show(f"\n{ways}-way, {queries} queries, {episodes} episodes\n")
    for each in scores:
        interval = f"{100 * each.accuracy:5.1f} +- {100 * each.half_width:.1f} %"
        show(f"  {each.shots:>3}-shot  {each.head:<12} {interval}\n")


@o.asks("data", "backbone", "label_column", "file_column", "seed", required=True)
def pretrain(
    asked: o.Asked,
    method: Annotated[MetaMethod, typer.Option(help="What is learnt over episodes.")] = "protonet",
    out: Annotated[
        Path, typer.Option(help="Folder of the weights; opens with --backbone.")
    ] = _START,
    ways: o.Ways = 5,
    shots: Annotated[int, typer.Option(min=1, help="Examples a class to learn from.")] = 5,
    queries: o.Queries = 15,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to learn from.")] = 500,
    minutes: Annotated[
        float | None,
        typer.Option("--time-budget", min=0.01, metavar="MIN", help="Minutes after which it ends."),
    ] = None,
    cache: o.Cache = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Train a backbone over episodes of a source, to be fitted well to few examples."""
    from edgetransfer.tasks.classification.episodes import EpisodeShape
    from edgetransfer.tasks.classification.pretrain import PretrainPlan
    from edgetransfer.tasks.classification.pretrain import pretrain as run

    wanted = PretrainPlan(method, EpisodeShape(ways, shots, queries), episodes, minutes)
    card = run(_resolved(asked, cache, quiet=quiet), wanted, out)
    if json:
        print_json(card)
        return
    show(f"\n  {out}\n  judge it:  edgetransfer fewshot DATA --backbone {out}\n")
    show(f"  build:     edgetransfer build DATA --backbone {out}\n")
