"""The command that builds a matrix of backbones and seeds."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetransfer.cli import options as o
from edgetransfer.spec.outside import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.table import Table

Backbones = Annotated[
    list[str] | None,
    typer.Option("--backbone", help="What `build` takes; repeatable.", rich_help_panel="Matrix"),
]
Seeds = Annotated[
    str, typer.Option(help="Of splits and fits: a list with commas.", rich_help_panel="Matrix")
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Fit and compress cells at once there: an address, auto, or local.",
        rich_help_panel="Matrix",
    ),
]
Cores = Annotated[
    int, typer.Option(min=1, help="Threads a cell is fitted with.", rich_help_panel="Matrix")
]
_OWN: Mapping[str, tuple[object, object]] = {
    "backbone": (Backbones, None),
    "seeds": (Seeds, "0,1,2"),
    "ray": (Ray, None),
    "cores": (Cores, 1),
    "out": (o.Out, Path("edgetransfer-matrix")),
}
_NOT_OF_A_MATRIX = ("candidate", "seed", "processes")


def command(build: Callable[..., None]) -> Callable[..., None]:
    """Return the command: it takes what `build` takes, and several backbones and seeds."""

    def matrix(**options: object) -> None:
        """Build backbones x seeds for every target; tell mean and spread over the seeds."""
        _matrix(options)

    taken = {
        name: parameter
        for name, parameter in inspect.signature(build).parameters.items()
        if name not in (*_OWN, *_NOT_OF_A_MATRIX)
    }
    for name, (kind, default) in _OWN.items():
        taken[name] = inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind
        )
    own = [each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in taken.values()]
    vars(matrix)["__signature__"] = inspect.Signature(own)
    matrix.__annotations__ = {each.name: each.annotation for each in own}
    return matrix


def _matrix(options: Mapping[str, Any]) -> None:
    from edgetransfer.bundle.files import writing
    from edgetransfer.bundle.swap import LOCK, locked
    from edgetransfer.cli.progress import TerminalReporter
    from edgetransfer.cli.use import asked_of, print_json, store_at, whole_numbers
    from edgetransfer.pipeline.matrix import matrix as use
    from edgetransfer.spec.options import recipe_from

    asked = {name: value for name, value in asked_of(options).items() if name != "backbone"}
    recipe = recipe_from(asked, options["recipe"])
    seeds = whole_numbers(options["seeds"], "--seeds", least=0)
    out: Path = options["out"]
    cells = use.cells_of(recipe, options["backbone"] or (), seeds, out)
    store, reporter, cores = store_at(options["cache"]), TerminalReporter(), options["cores"]
    known = {}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK):
        if options["ray"] is not None:
            from edgetransfer.pipeline.matrix.on_ray import prepare_all

            known = prepare_all(cells, store, reporter, cores=cores, address=options["ray"])
        record = use.run(cells, store, reporter, cores=cores, known=known)
        file = use.write(record, out)
    if options["json"]:
        print_json(record)
    else:
        _show(record, file)
    sys.exit(exit_code(record, strict=options["strict"]))


def exit_code(record: Mapping[str, Any], *, strict: bool) -> int:
    """Return that of the first cell that failed, else that of the worst verdict."""
    from edgetransfer.measure.verdict import exit_code as of_verdict

    failed = [row["exit_code"] for row in record["cells"] if "error" in row]
    return failed[0] if failed else of_verdict(record["verdict"], strict=strict)


def _show(record: Mapping[str, Any], file: Path) -> None:
    from rich.text import Text

    from edgetransfer.cli.console import Console

    console = Console()
    console.print()
    console.print(_cells(record["cells"]))
    for target in dict.fromkeys(row["target"] for row in record["summary"]):
        console.print()
        console.print(_summary(target, [r for r in record["summary"] if r["target"] == target]))
    for row in record["cells"]:
        if "error" in row:
            told = f"\n{row['backbone']}, seed {row['seed']}, {row['target']}:\n  {row['error']}"
            console.print(Text(printable(told)), soft_wrap=True)
    console.print(Text(f"\n  {file}"), soft_wrap=True)


def _table(*columns: str, title: str | None = None) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", title=title)
    table.title_justify, table.title_style = "left", ""
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _cells(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("backbone", "seed", "target", "verdict", "float", "shipped", "p90 ms", "MiB")
    for row in rows:
        table.add_row(
            row["backbone"],
            str(row["seed"]),
            row["target"],
            row.get("verdict", "failed"),
            *(_number(row.get(key), form) for key, form in _FORMS.items()),
        )
    return table


def _summary(target: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Mean and spread over the seeds; a row has to fit into 80 columns."""
    title = f"{target}: mean over the seeds ± standard deviation, where they differ"
    table = _table("backbone", "verdicts", "float", "shipped", "p90 ms", "MiB", title=title)
    for row in rows:
        verdicts = [f"{count} {name}" for name, count in row["verdicts"].items()]
        failed = [f"{row['failed']} failed"] if row["failed"] else []
        table.add_row(
            row["backbone"],
            "\n".join(verdicts + failed),
            *(_spread(row.get(key), form) for key, form in _FORMS.items()),
        )
    return table


_FORMS = {
    "float_accuracy": ("{:.3f}", 1.0),
    "accuracy": ("{:.3f}", 1.0),
    "p90_ms": ("{:.2f}", 1.0),
    "bytes": ("{:.2f}", 2.0**20),
}


def _number(value: float | None, form: tuple[str, float]) -> str:
    text, unit = form
    return "-" if value is None else text.format(value / unit)


def _spread(value: Mapping[str, float] | None, form: tuple[str, float]) -> str:
    if value is None:
        return "-"
    spread = f" ± {_number(value['sd'], form)}" if value.get("sd") else ""
    return _number(value["mean"], form) + spread
