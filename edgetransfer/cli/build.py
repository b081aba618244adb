"""The commands that build: one build, a demonstration, a matrix, and what a build would do."""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetransfer.bundle.files import writing
from edgetransfer.cli import DEBUG
from edgetransfer.cli import options as o
from edgetransfer.cli.terminal import Console, TerminalReporter, flat, print_json, show, table
from edgetransfer.spec.options import SHELL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

_OUT = Path("edgetransfer-out")
_NOT_OF_A_MATRIX = ("backbone", "candidate", "seed")
_FORMS = {
    "float_accuracy": ("{:.3f}", 1.0),
    "accuracy": ("{:.3f}", 1.0),
    "p90_ms": ("{:.2f}", 1.0),
    "bytes": ("{:.2f}", 2.0**20),
}
_FIGURES = ("float", "shipped", "p90 ms", "MiB")


@o.asks(*SHELL)
def build(
    asked: o.Asked,
    out: o.Out = _OUT,
    recipe: o.RecipeFile = None,
    cache: o.Cache = None,
    json: o.Json = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
    processes: o.Processes = None,
    markdown: o.Markdown = None,
    junit: o.Junit = None,
    verify_on: o.VerifyOn = None,
) -> None:
    """Build for one or more targets, and end on a verdict for each."""
    from edgetransfer.cli import render
    from edgetransfer.pipeline.build import build as run
    from edgetransfer.pipeline.stage.shared import joined
    from edgetransfer.spec.recipe import recipe_from

    whole, store = recipe_from(asked, recipe), o.store_at(cache)
    with joined(whole, processes) as team:
        outcome = run(whole, out, store, TerminalReporter(quiet=quiet), team, verify_on)
    render.write(outcome.reports, markdown, junit, strict=strict)
    if os.environ.get(DEBUG):
        render.stages(store.visits)
    if json:
        print_json({"verdict": outcome.verdict, "reports": dict(outcome.reports)})
    else:
        render.notes(() if quiet else outcome.notes)
        if len(outcome.reports) > 1 and not quiet:
            render.targets(outcome.reports, out)
        else:
            for name, report in outcome.reports.items():
                render.verdict(report, outcome.folders[name], quiet=quiet)
    render.leave(outcome.reports.values(), strict=strict)


@o.asks(
    *("data", "target", "backbone", "label_column", "text_column", "file_column", "split_by"),
    *("task", "max_drop", "seed"),
    required=True,
)
def init(
    asked: o.Asked,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The recipe that is written.")
    ] = Path("recipe.toml"),
    cache: o.Cache = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Look at the data, and write a commented recipe that `build --recipe` takes."""
    from edgetransfer.pipeline import first_recipe
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.spec.recipe import recipe_from

    if os.path.lexists(out):
        raise first_recipe.already(out)
    run = resolve(recipe_from(asked), o.store_at(cache), TerminalReporter(quiet=quiet))
    found = first_recipe.look(run)
    first_recipe.write(found, out)
    if json:
        told = {"seen": found.seen, "warnings": found.warnings, "file": str(out)}
        print_json({**told, "recipe": found.recipe.model_dump(mode="json")})
        return
    console = Console()
    for line in () if quiet else ("", *found.seen, "", *found.warnings):
        console.indented(line)
    console.unbroken(f"\n  {out}\n  build:  edgetransfer build --recipe {shlex.quote(str(out))}")


def demo(
    out: o.Out = Path("demo-out"),
    cache: o.Cache = None,
    json: o.Json = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
) -> None:
    """Build on scikit-learn's digits for this machine: no data, no network, no fine-tuning."""
    from edgetransfer.pipeline.demo import write_digits

    digits = out / "digits"
    with writing(out):
        write_digits(digits)
    asked = {**dict.fromkeys(SHELL), "data": str(digits), "fit": "probe"}
    how = {"json": json, "strict": strict, "quiet": quiet}
    build(**asked, out=out, recipe=None, cache=cache, **how, processes=None)


def plan(**given: Any) -> None:  # noqa: ANN401 (what `build` takes)
    """Show the resolved recipe and the stages, before any work; takes what `build` takes."""
    from edgetransfer.pipeline.build import plan as steps_of
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.pipeline.stage.reporter import SilentReporter
    from edgetransfer.spec.recipe import recipe_from

    recipe = recipe_from({name: given[name] for name in SHELL}, given["recipe"])
    stages = steps_of(resolve(recipe, o.store_at(None), SilentReporter()))
    if given["json"]:
        told = [step._asdict() for step in stages]
        print_json({"recipe": recipe.model_dump(mode="json"), "stages": told})
    else:
        _show_plan(recipe.model_dump(mode="json", exclude_none=True), stages)


o.signed(plan, inspect.signature(build).parameters.values())


def _show_plan(recipe: Mapping[str, Any], stages: Sequence[tuple[str, str]]) -> None:
    console = Console()
    console.print("Recipe", style="bold")
    console.indented(table(("", ""), flat(recipe, _value)), below=1)
    console.print("Stages", style="bold")
    console.indented(table(("", ""), stages))


def _value(given: object) -> str:
    return (", ".join(map(str, given)) if isinstance(given, list) else str(given)) or "-"


@o.asks(*(name for name in SHELL if name not in _NOT_OF_A_MATRIX))
def matrix(
    asked: o.Asked,
    recipe: o.RecipeFile = None,
    cache: o.Cache = None,
    json: o.Json = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
    backbone: o.Backbones = None,
    seeds: o.Seeds = "0,1,2",
    ray: o.Ray = None,
    cores: o.Cores = 1,
    out: o.Out = Path("edgetransfer-matrix"),
) -> None:
    """Build backbones x seeds for every target; report mean and spread over the seeds."""
    from edgetransfer.bundle.swap import LOCK, locked
    from edgetransfer.pipeline import matrix as use
    from edgetransfer.spec.recipe import recipe_from

    whole = recipe_from(asked, recipe)
    cells = use.cells_of(whole, backbone or (), o.whole_numbers(seeds, "--seeds", least=0), out)
    store, reporter = o.store_at(cache), TerminalReporter(quiet=quiet)
    known = {}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    with locked(out / LOCK):
        if ray is not None:
            from edgetransfer.pipeline.on_ray import prepare_all

            known = prepare_all(cells, store, reporter, cores=cores, address=ray)
        record = use.run(cells, store, reporter, cores=cores, known=known)
        file = use.write(record, out)
    if json:
        print_json(record)
    elif quiet:
        show(f"{record['verdict'] or 'failed'}  {file}\n")
    else:
        _show_matrix(record, file)
    sys.exit(exit_code(record, strict=strict))


def exit_code(record: Mapping[str, Any], *, strict: bool) -> int:
    """Return that of the first cell that failed, else that of the worst verdict."""
    from edgetransfer.measure.verdict import exit_code as of_verdict

    failed = [row["exit_code"] for row in record["cells"] if "error" in row]
    return failed[0] if failed else of_verdict(record["verdict"], strict=strict)


def _show_matrix(record: Mapping[str, Any], file: Path) -> None:
    console = Console()
    console.print()
    cells = [
        (
            row["backbone"],
            str(row["seed"]),
            row["target"],
            row.get("verdict", "failed"),
            *(_number(row.get(key), form) for key, form in _FORMS.items()),
        )
        for row in record["cells"]
    ]
    columns = ("backbone", "seed", "target", "verdict", *_FIGURES)
    console.print(table(columns, cells, gap=1, overflow="fold"))
    for target in dict.fromkeys(row["target"] for row in record["summary"]):
        console.print()
        console.print(_summary(target, [r for r in record["summary"] if r["target"] == target]))
    for row in record["cells"]:
        if "error" in row:
            place = f"{row['backbone']}, seed {row['seed']}, {row['target']}"
            console.unbroken(f"\n{place}:\n  {row['error']}")
    console.unbroken(f"\n  {file}")


def _summary(target: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """Mean and spread over the seeds; a row has to fit into 80 columns."""
    cells = []
    for row in rows:
        verdicts = [f"{count} {name}" for name, count in row["verdicts"].items()]
        verdicts += [f"{row['failed']} failed"] if row["failed"] else []
        figures = [_spread(row.get(key), form) for key, form in _FORMS.items()]
        cells.append((row["backbone"], "\n".join(verdicts), *figures))
    made = table(("backbone", "verdicts", *_FIGURES), cells, gap=1, overflow="fold")
    made.title = f"{target}: mean over the seeds ± standard deviation, where they differ"
    made.title_justify, made.title_style = "left", ""
    return made


def _number(value: float | None, form: tuple[str, float]) -> str:
    text, unit = form
    return "-" if value is None else text.format(value / unit)


def _spread(value: Mapping[str, float] | None, form: tuple[str, float]) -> str:
    if value is None:
        return "-"
    spread = f" ± {_number(value['sd'], form)}" if value.get("sd") else ""
    return _number(value["mean"], form) + spread
