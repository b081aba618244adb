"""Calls the use cases for the commands, and hands what comes back to `render`.

The command about few examples: it parses what is its own, and prints.

The command that trains a start over episodes: it parses what is its own, and prints.

Prints ranked backbones.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from edgetransfer.cli import render
from edgetransfer.cli.console import Console, plain_json
from edgetransfer.cli.progress import TerminalReporter
from edgetransfer.errors import DataError, SpecError
from edgetransfer.measure.verdict import exit_code, is_sound, refuse_untrue, worst
from edgetransfer.pipeline.stage.store import Store
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.spec.names import slug
from edgetransfer.spec.options import FIELDS, recipe_from, seconds_of
from edgetransfer.transport.place import LOCAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgetransfer.data.queries import Columns
    from edgetransfer.pipeline.build import Outcome
    from edgetransfer.pipeline.predict import Prediction

_KNOWS = (
    ("accuracy", "accuracy", "{:.3f}", 1.0),
    ("log loss", "log_loss", "{:.3f}", 1.0),
    ("LogME", "logme", "{:.3f}", 1.0),
    ("H-score", "h_score", "{:.3f}", 1.0),
)

_COSTS = (
    ("weights", "parameters", "{:.2f} M", 1e6),
    ("MACs", "macs", "{:.0f} M", 1e6),
    ("float", "float_bytes", "{:.1f} MiB", 2.0**20),
    ("int8", "int8_bytes", "{:.1f} MiB", 2.0**20),
    ("p90 ms", "float_p90_ms", "{:.2f}", 1.0),
    ("int8 ms", "int8_p90_ms", "{:.2f}", 1.0),
)

_LONGEST = 22

"""Characters of a name; of a path the end is what tells folders apart."""


def ranked(record: Mapping[str, Any], page: Path) -> None:
    """Print what each backbone knows and costs, best first, and where the page is."""
    console = Console()
    for title, columns in (("knows", _KNOWS), ("costs", _COSTS)):
        console.print(_table(title, columns, record["candidates"]))
        console.print()
    if "timed_on" in record:
        told = f"* nothing is both as accurate and as fast, on {record['timed_on']}"
        console.print(Text(told), soft_wrap=True)
    else:
        console.print("not timed: this machine is not the target")
    console.print(Text(f"  {page}"), soft_wrap=True)


def _table(
    title: str, columns: Sequence[tuple[str, str, str, float]], rows: Sequence[Mapping[str, Any]]
) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column(f"  {title}", no_wrap=True)
    for head, *_ in columns:
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        cells = [
            form.format(row[key] / unit) if key in row else "-" for _, key, form, unit in columns
        ]
        table.add_row(Text(("* " if row["on_front"] else "  ") + _short(row["backbone"])), *cells)
    return table


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else "…" + name[1 - _LONGEST :]


def pretrain(options: Mapping[str, Any]) -> None:
    """Train, and say how to use what came of it."""
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.pipeline.pretrain import Plan
    from edgetransfer.pipeline.pretrain import pretrain as run
    from edgetransfer.transfer.episodes.episodes import Task

    task = Task(options["ways"], options["shots"], options["queries"])
    plan = Plan(options["method"], task, options["episodes"], options["minutes"])
    asked = resolve(recipe_from(asked_of(options)), store_at(options["cache"]), TerminalReporter())
    card = run(asked, plan, options["out"])
    if options["json"]:
        print_json(card)
        return
    out = options["out"]
    sys.stdout.write(f"\n  {out}\n  judge it:  edgetransfer fewshot DATA --backbone {out}\n")
    sys.stdout.write(f"  build:     edgetransfer build DATA --backbone {out}\n")


def fewshot(options: Mapping[str, Any]) -> None:
    """Print the accuracy of every head with its interval."""
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.pipeline.fewshot import Trial
    from edgetransfer.pipeline.fewshot import fewshot as run

    trial = Trial(
        options["ways"],
        whole_numbers(options["shots"], "--shots", least=1),
        options["queries"],
        options["episodes"],
    )
    reporter = TerminalReporter()
    asked = resolve(recipe_from(asked_of(options)), store_at(options["cache"]), reporter)
    scores = run(asked, trial)
    if options["json"]:
        print_json({**asdict(trial), "scores": [asdict(each) for each in scores]})
        return
    sys.stdout.write(f"\n{trial.ways}-way, {trial.queries} queries, {trial.episodes} episodes\n")
    for each in scores:
        interval = f"{100 * each.accuracy:5.1f} +- {100 * each.half_width:.1f} %"
        sys.stdout.write(f"  {each.shots:>3}-shot  {each.head:<12} {interval}\n")


_DAY_S = 24 * 3600


def store_at(cache: Path | None) -> Store:
    """Return where finished stages are kept."""
    return Store(cache or default_cache())


def asked_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that a recipe holds."""
    return {name: value for name, value in options.items() if name in FIELDS}


def whole_numbers(text: str, option: str, *, least: int) -> tuple[int, ...]:
    """Read a list with commas.

    Raises:
        SpecError: it is not one of whole numbers, or one is too small.

    >>> whole_numbers("0,7", "--seeds", least=0)
    (0, 7)
    """
    try:
        numbers = tuple(int(each) for each in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or min(numbers) < least:
        raise SpecError(
            "not a list of numbers",
            where=option,
            found=repr(text),
            expected=f"whole numbers from {least}, with commas: 1,5",
        )
    return numbers


def print_json(value: Any) -> None:  # noqa: ANN401 (any plain JSON value)
    """Print plain JSON values, which stay JSON on a terminal that lacks some letters."""
    plain = (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    sys.stdout.write(plain_json(json.dumps(value, indent=2, ensure_ascii=plain)) + "\n")


def build(options: Mapping[str, Any]) -> None:
    """Build and end with the exit code of the verdict."""
    from edgetransfer.pipeline.build import build as run
    from edgetransfer.pipeline.stage.shared import joined

    recipe = recipe_from(asked_of(options), options["recipe"])
    store = store_at(options["cache"])
    with joined(recipe, options.get("processes")) as team:
        outcome = run(recipe, options["out"], store, TerminalReporter(), team)
    _tell(outcome, as_json=options["json"])
    sys.exit(_exit_code(outcome.reports.values(), strict=options["strict"]))


def _exit_code(reports: Iterable[Mapping[str, Any]], *, strict: bool) -> int:
    found = tuple(reports)
    name = worst(report["verdict"] for report in found)
    return exit_code(name, strict=strict, sound=all(map(is_sound, found)))


def demo(out: Path, cache: Path | None, *, as_json: bool, strict: bool) -> None:
    """Build on the embedded digits."""
    from edgetransfer.bundle.files import writing
    from edgetransfer.pipeline.demo import write_digits

    with writing(out):
        write_digits(out / "digits")
    asked = {"data": str(out / "digits"), "recipe": None, "out": out, "cache": cache}
    build({**asked, "json": as_json, "strict": strict})


def _tell(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json({"verdict": outcome.verdict, "reports": dict(outcome.reports)})
        return
    render.notes(outcome.notes)
    for name, report in outcome.reports.items():
        render.verdict(report, outcome.folders[name])


def bench(options: Mapping[str, Any]) -> None:
    """Measure a bundle and end with the exit code of the verdict."""
    from edgetransfer.pipeline.bench.bench import There
    from edgetransfer.pipeline.bench.bench import bench as run
    from edgetransfer.transport.place import Software

    data = recipe_from(asked_of(options)).data if options["data"] else None
    folder: Path = options["bundle"]
    out = options["out"] or folder / "bench"
    asked = options["sustained"]
    there = There(
        software=Software(options["wheels"], options["python"]),
        sustained_s=None if asked is None else seconds_of(asked, "--sustained"),
        energy=options["energy"],
    )
    places = tuple(dict.fromkeys(options["on"] or (LOCAL,)))
    reports = {}
    for where in places:
        room = out if places == (LOCAL,) else out / slug(where)
        done = run(folder, data, room, TerminalReporter(), replace(there, where=where))
        reports[where] = done.report
        if not options["json"]:
            render.notes(done.notes)
            render.verdict(done.report, done.folder, again=True)
    if options["json"]:
        print_json(done.report if len(places) == 1 else {"reports": reports})
    sys.exit(_exit_code(reports.values(), strict=options["strict"]))


def predict(folder: Path, inputs: Sequence[str], columns: Columns, *, as_json: bool) -> None:
    """Print what the model says of each input, and end with the code of bad data if one is."""
    from edgetransfer.pipeline.predict import predict as run

    found = run(folder, inputs, columns)
    if as_json:
        print_json([_plain(each) for each in found])
    else:
        render.predictions([each for each in found if each.error is None])
    wrong = [each for each in found if each.error is not None]
    for each in wrong:
        sys.stderr.write(f"error: {each.error}\n")
    if wrong:
        sys.exit(DataError.exit_code)


def _plain(each: Prediction) -> dict[str, Any]:
    where = {"where": each.where} if each.where else {}
    said = {"best": dict(each.best)} if each.error is None else {"error": each.error}
    return {"input": each.input, **where, **said}


def targets(name: str | None, *, as_json: bool) -> None:
    """Print the catalogue, or one target in full."""
    from edgetransfer.spec import catalogue

    specs = [
        catalogue.target(each)
        for each in ([name] if name is not None else catalogue.names("targets"))
    ]
    if as_json:
        print_json([spec.model_dump(mode="json") for spec in specs])
    elif name:
        render.target(specs[0])
    else:
        render.targets(specs)


def backbones(*, as_json: bool) -> None:
    """Print the cards of the built-in backbones."""
    from edgetransfer.backbone.sources import WEIGHTS, builtin_names
    from edgetransfer.bundle.files import read_json

    cards = [read_json(WEIGHTS / name / "card.json") for name in builtin_names()]
    if as_json:
        print_json(cards)
    else:
        render.backbones(cards)


def rank(options: Mapping[str, Any]) -> None:
    """Rank backbones, print the table and write the page."""
    from edgetransfer.bundle.files import writing
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.pipeline.fit.data import read_data
    from edgetransfer.pipeline.rank import candidates_of
    from edgetransfer.pipeline.rank import rank as run
    from edgetransfer.report.page import render_ranking

    names = options["backbone"]
    asked = {**asked_of(options), "backbone": "auto", "candidate": names}
    candidates_of(names or (), option="--backbone")  # what they are called here, if one is missing
    resolved = resolve(recipe_from(asked), store_at(options["cache"]), TerminalReporter())
    record = run(resolved, read_data(resolved), resolved.candidates)
    page: Path = options["out"]
    with writing(page.parent):
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(render_ranking(record), encoding="utf-8")
    if options["json"]:
        print_json(record)
    else:
        ranked(record, page)


def plan(options: Mapping[str, Any]) -> None:
    """Print the resolved recipe and the stages."""
    from edgetransfer.pipeline.build import resolve
    from edgetransfer.pipeline.plan import plan as steps_of
    from edgetransfer.pipeline.stage.reporter import SilentReporter

    recipe = recipe_from(asked_of(options), options["recipe"])
    run = resolve(recipe, store_at(None), SilentReporter())
    steps = steps_of(run)
    if options["json"]:
        stages = [{"stage": step.stage, "what": step.what} for step in steps]
        print_json({"recipe": recipe.model_dump(mode="json"), "stages": stages})
    else:
        render.plan(recipe, steps)


def report(folder: Path, *, as_json: bool) -> None:
    """Print the verdict of a bundle again, and write its page from its report."""
    from edgetransfer.bundle.opened import open_bundle
    from edgetransfer.bundle.readers import read_report
    from edgetransfer.pipeline.bench.judge import write_report

    bundle = open_bundle(folder)
    found = read_report(folder / "report.json")
    refuse_untrue(found, str(folder / "report.json"))
    write_report(folder, found, bundle)
    if as_json:
        print_json(found)
    else:
        render.notes(found.get("notes", ()))
        render.verdict(found, folder)


def cache_list(cache: Path | None) -> None:
    """Print what is kept."""
    render.entries(store_at(cache).entries())


def cache_size(cache: Path | None) -> None:
    """Print how much is kept."""
    store = store_at(cache)
    entries = store.entries()
    render.size(store.root, len(entries), sum(entry.bytes for entry in entries))


def cache_clean(cache: Path | None, older_than_days: float) -> None:
    """Delete what is kept."""
    render.freed(store_at(cache).clean(older_than_s=older_than_days * _DAY_S))
