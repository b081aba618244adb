"""The commands about a bundle: measure it, predict with it, show it, make something else of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetransfer.cli import options as o
from edgetransfer.cli.terminal import Console, TerminalReporter, print_json, show, table
from edgetransfer.spec.options import BENCH

if TYPE_CHECKING:
    from edgetransfer.pipeline.predict import Prediction
    from edgetransfer.spec.recipe import DataSpec
    from edgetransfer.tasks.classification.ship.add_class import AddClassResult

_SHOWN = 200


@o.asks(*BENCH)
def bench(
    asked: o.Asked,
    bundle: o.Bundle,
    data: Annotated[
        str | None, typer.Option(help="New examples, labelled or not; default: the golden ones.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where the report goes; default: in BUNDLE/bench.")
    ] = None,
    json: o.Json = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
    markdown: o.Markdown = None,
    junit: o.Junit = None,
) -> None:
    """Measure a bundle on a device, and judge it by its own budget."""
    from edgetransfer.cli import render
    from edgetransfer.pipeline.api import bench as run
    from edgetransfer.spec.base import slug
    from edgetransfer.transport.place import LOCAL

    room = out or bundle / "bench"
    places = tuple(dict.fromkeys(asked["on"] or (LOCAL,)))
    reports = {}
    for where in places:
        mine = room if places == (LOCAL,) else room / slug(where)
        reporter = TerminalReporter(quiet=quiet)
        found = run(bundle, data or None, out=mine, reporter=reporter, **{**asked, "on": where})
        reports[where] = found
        if not json:
            render.notes(() if quiet else found["notes"])
            render.verdict(found, mine, again=True, quiet=quiet)
    named = {f"{each['target']} on {where}": each for where, each in reports.items()}
    render.write(named, markdown, junit, strict=strict)
    if json:
        print_json(found if len(places) == 1 else {"reports": reports})
    render.leave(reports.values(), strict=strict)


@o.asks("text_column", "file_column")
def predict(
    asked: o.Asked,
    bundle: o.Bundle,
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE...",
            help="Pictures or folders of them, texts in quotes, tables, .txt files, or - for lines "
            "of standard input.",
        ),
    ],
    json: o.Json = False,
) -> None:
    """Classify pictures, or texts, with the shipped model."""
    from edgetransfer.errors import DataError
    from edgetransfer.pipeline.predict import LoadedModel

    model = LoadedModel(bundle)
    found = model.predict(inputs, **asked)
    if json:
        print_json([_plain(each) for each in found])
    else:
        rows = []
        for each in found:
            if each.error is None:
                (label, share), *others = each.best
                rest = ", ".join(f"{name} {part:.3f}" for name, part in others)
                rows.append((each.input[:_SHOWN], label, f"{share:.3f}", rest))
        if rows:
            what, number = model.columns
            Console().print(table(("input", what, number, "then"), rows, right=[number]))
    wrong = [f"error: {each.error}\n" for each in found if each.error is not None]
    sys.stderr.writelines(wrong)
    if wrong:
        sys.exit(DataError.exit_code)


def _plain(each: Prediction) -> dict[str, Any]:
    where = {"where": each.where} if each.where else {}
    said = {"best": dict(each.best)} if each.error is None else {"error": each.error}
    return {"input": each.input, **where, **said}


def report(
    bundle: o.Bundle,
    json: o.Json = False,
    show: Annotated[bool, typer.Option("--open", help="Show its page in a browser.")] = False,
    measured: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="measured.json of a kit's check: judge it, and add it."),
    ] = None,
) -> None:
    """Show the report of a bundle, and write its page again."""
    import webbrowser

    from edgetransfer.bundle.opened import open_bundle
    from edgetransfer.bundle.readers import read_report
    from edgetransfer.cli import render
    from edgetransfer.kits.app import judge_app, with_apps
    from edgetransfer.measure.verdict import exit_code, refuse_untrue, worst
    from edgetransfer.pipeline.bench.judge import write_report
    from edgetransfer.report.thumbnails import kept
    from edgetransfer.spec import tasks

    opened = open_bundle(bundle)
    found = read_report(bundle / "report.json")
    refuse_untrue(found, str(bundle / "report.json"), tasks.load(found["task"]).claims)
    judged = [judge_app(opened, file) for file in measured or ()]
    if judged:
        found["apps"] = with_apps(found.get("apps") or (), judged)
    page = (bundle / "report.html").absolute()
    old = page.read_text("utf-8", "replace") if page.is_file() else ""
    write_report(bundle, found, opened, kept(old) or None)
    if json:
        print_json(found)
    else:
        render.notes(found.get("notes", ()))
        render.verdict(found, bundle)
    if show and not webbrowser.open(page.as_uri()):
        sys.stderr.write(f"no browser was found: open {page}\n")
    if judged:
        sys.exit(exit_code(worst(each["status"] for each in judged), strict=False))


def export(
    bundle: o.Bundle,
    kit: Annotated[
        str, typer.Option("--for", help="What the kit is for.", autocompletion=o.offer_kits)
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where it goes; default: BUNDLE-KIT beside the bundle.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Make a kit of a bundle, for an app: code, model, and a test that proves it there."""
    from edgetransfer.kits.kit import make_kit

    folder = bundle.absolute()
    made = make_kit(folder, kit, out or folder.with_name(f"{folder.name}-{kit}"))
    if json:
        print_json({"folder": str(made.folder), "files": made.files, "bytes": made.bytes})
        return
    show(
        f"{made.folder}: {made.files} files, {made.bytes / 2**20:.1f} MiB\n"
        f"README.md there says how it is used, and how its test is run\n"
    )


def size(
    bundle: o.Bundle,
    operators: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the operators that the model needs, for a build of ONNX Runtime with no "
            "others (--include_ops_by_config).",
        ),
    ] = None,
    json: o.Json = False,
) -> None:
    """Show what an app carries: model, tables, and the runtime of each kit and processor."""
    from edgetransfer.bundle.files import write_whole, writing
    from edgetransfer.bundle.opened import open_bundle
    from edgetransfer.kits.size import model_rows, required_operators, runtime_rows

    opened = open_bundle(bundle)
    parts = {"model": model_rows(opened), "runtime": [*runtime_rows()]}
    if operators is not None:
        config = opened.manifest["session"]["config"]
        with writing(operators.parent):
            text = required_operators(opened.file("model.onnx"), config)
            write_whole(operators, text.encode())
    if json:
        print_json({name: [row._asdict() for row in rows] for name, rows in parts.items()})
        return
    shown = [(row.part, *map(_told_size, row[1:])) for rows in parts.values() for row in rows]
    made = table(("part", "on disk", "gzip"), shown, right=["on disk", "gzip"])
    Console().print(made)


def _told_size(size: int) -> str:
    return f"{size / 2**20:.2f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def compare(
    first: Annotated[Path, typer.Argument(metavar="A", help="A bundle, or a report.json.")],
    second: Annotated[
        Path, typer.Argument(metavar="B", help="The other bundle, or its report.json.")
    ],
    json: o.Json = False,
) -> None:
    """Compare two bundles or reports: accuracy, changed decisions, latency, size."""
    from edgetransfer.report.comparison import compare as run
    from edgetransfer.report.comparison import read_side

    found = run(read_side(first), read_side(second))
    if json:
        print_json(found.plain())
        return
    console = Console()
    made = table(("", "A", "B"), found.rows(), gap=1)
    made.show_header, made.columns[0].no_wrap = True, True
    console.print(made)
    console.print(f"\n{found.told}")


def push(
    bundle: o.Bundle,
    folder: Annotated[Path, typer.Argument(help="A folder that a web server serves, or will.")],
    version: Annotated[
        str | None, typer.Option(help="Its name in the index; default: the next whole number.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Add the model of a bundle to a folder that kits update themselves from."""
    from edgetransfer.kits.push import push as run

    added = run(bundle, folder, version)
    if json:
        print_json(added._asdict())
    else:
        show(
            f"{folder / added.folder}: version {added.version}, the newest of "
            f"{folder / 'index.tsv'}\n"
            "serve the folder; a kit for Linux fetches it by: python update.py ADDRESS\n"
        )


@o.asks("label_column", "text_column", "file_column", "max_drop", "seed")
def add_class(
    asked: o.Asked,
    bundle: o.Bundle,
    name: Annotated[str, typer.Argument(help="The new class.")],
    inputs: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Its pictures, or texts in quotes.")
    ],
    data: Annotated[
        str | None, typer.Option(help="Labelled examples to check the old classes with.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The new bundle; default: BUNDLE+NAME beside it.")
    ] = None,
    json: o.Json = False,
    strict: o.Strict = False,
    quiet: o.Quiet = False,
) -> None:
    """Add a class to a bundle from a few examples; the backbone stays as it is."""
    from edgetransfer.cli import render
    from edgetransfer.measure.verdict import exit_code
    from edgetransfer.spec.base import slug
    from edgetransfer.spec.recipe import recipe_from
    from edgetransfer.tasks.classification.ship.add_class import Addition
    from edgetransfer.tasks.classification.ship.add_class import add_class as run

    folder = bundle.absolute()
    place = out or folder.with_name(f"{folder.name}+{slug(name)}")
    recipe = recipe_from({**asked, "data": data or "."})
    examples = recipe.data if data else None
    addition = Addition(name, tuple(inputs), examples, asked["max_drop"], recipe.seed)
    done = run(folder, addition, place, TerminalReporter(quiet=quiet))
    if json:
        told = None if done.folder is None else str(done.folder)
        print_json({**done.record, "notes": done.notes, "folder": told})
    else:
        render.notes(done.notes)
        show("\n".join(_told(done, examples)) + "\n")
    verdict = done.status if done.status in ("PASS", "FAIL") else "INCONCLUSIVE"
    sys.exit(exit_code(verdict, strict=strict))


def _told(done: AddClassResult, data: DataSpec | None) -> list[str]:
    record = done.record
    count, changed = record["examples"], record["old_decisions_changed"]
    lines = [
        "",
        f"{done.status}  {record['name']!r} from {count} examples",
        f"  {changed} of {record['old_examples']} decisions on old classes changed"
        f" ({record['checked_on']})",
    ]
    if record["leave_one_out"] is not None:
        low, high = (100 * each for each in record["leave_one_out_ci95"])
        lines.append(
            f"  {record['leave_one_out']} of {count} new examples are recognised by a "
            f"head that did not see them [{low:.0f}, {high:.0f}] %"
        )
    if record["new_examples"]:
        low, high = (100 * each for each in record["new_recall_ci95"])
        lines.append(
            f"  {record['new_found']} of {record['new_examples']} other examples of it are "
            f"recognised [{low:.0f}, {high:.0f}] %"
        )
    if done.folder is None:
        return [*lines, "  refused: nothing was written. --max-drop allows more"]
    return [*lines, f"  {done.folder}", f"  {_measure_with(done.folder, data)}"]


def _measure_with(folder: Path, data: DataSpec | None = None) -> str:
    """Say how a new bundle is measured, as it stands in a shell."""
    from edgetransfer.pipeline.bench.target_match import bench_command

    hint = "" if data else " (--data, with labelled examples, for its accuracy)"
    return f"not measured yet: {bench_command(folder, data)}{hint}"


def engine(
    bundle: o.Bundle,
    compute_capability: Annotated[
        str, typer.Option(help="Of the GPU that it is for: 8.9 is an RTX 40, 8.6 an RTX 30.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file; default: engine-CAPABILITY.plan here.")
    ] = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Build a TensorRT-RTX engine of a bundle without its GPU; engines hold code: ship yours."""
    from dataclasses import asdict

    from edgetransfer.pipeline.ship.engine import build_engine

    file = out or Path(f"engine-{compute_capability}.plan")
    built = build_engine(bundle, compute_capability, file, TerminalReporter(quiet=quiet))
    if json:
        print_json({**asdict(built), "file": str(built.file)})
        return
    show(
        f"{built.file}: {built.bytes / 2**20:.1f} MiB, {built.layers} layers, for a GPU of compute "
        f"capability {built.compute_capability}\n"
        f"loads with {built.runtime} alone; not run, not measured: "
        f"edgetransfer bench {bundle} --data TEST_DATA, on that machine\n"
    )


def head_export(
    bundle: o.Bundle, file: Annotated[Path, typer.Argument(help="The head file that is written.")]
) -> None:
    """Write the head of a bundle to a file of its own."""
    from edgetransfer.tasks.classification.ship.heads import export_heads

    heads, size = export_heads(bundle, file)
    show(f"{file}: {len(heads.labels)} classes, {size / 1024:.1f} KiB\n")


def head_apply(
    bundle: o.Bundle,
    file: Annotated[Path, typer.Argument(help="A file that `head export` wrote.")],
    out: Annotated[Path, typer.Option(help="The new bundle.")],
    quiet: o.Quiet = False,
) -> None:
    """Make the bundle that has the head of a file on the same backbone."""
    from edgetransfer.tasks.classification.ship.heads import apply_heads

    heads = apply_heads(bundle, file, out, TerminalReporter(quiet=quiet))
    show(f"{out}: {len(heads.labels)} classes\n{_measure_with(out)}\n")
