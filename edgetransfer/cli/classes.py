"""The commands that make something else of a bundle: they call the use cases and print."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.cli import render
from edgetransfer.cli.console import show
from edgetransfer.cli.progress import TerminalReporter
from edgetransfer.cli.use import asked_of, print_json
from edgetransfer.measure.verdict import exit_code
from edgetransfer.spec.names import slug
from edgetransfer.spec.options import recipe_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.spec.recipe import DataSpec


def add_class(options: Mapping[str, Any]) -> None:
    """Add a class, print what it does to the old ones, and end with the gate's exit code."""
    from edgetransfer.pipeline.ship.add_class import Addition
    from edgetransfer.pipeline.ship.add_class import add_class as run

    bundle: Path = options["bundle"].absolute()
    name = options["name"]
    beside = f"{bundle.name}+{slug(name)}"
    out = options["out"] or bundle.with_name(beside)
    asked = {**asked_of(options), "data": options["data"] or "."}
    recipe = recipe_from(asked)
    addition = Addition(
        name,
        tuple(options["inputs"]),
        recipe.data if options["data"] else None,
        options["max_drop"],
        recipe.seed,
    )
    done = run(bundle, addition, out, TerminalReporter())
    if options["json"]:
        folder = None if done.folder is None else str(done.folder)
        print_json({**done.record, "notes": done.notes, "folder": folder})
    else:
        render.notes(done.notes)
        _tell(done.status, done.record, done.folder, addition.data)
    verdict = done.status if done.status in ("PASS", "FAIL") else "INCONCLUSIVE"
    sys.exit(exit_code(verdict, strict=options["strict"]))


def _measure_with(folder: Path, data: DataSpec | None = None) -> str:
    """Say how a new bundle is measured, as it stands in a shell."""
    from edgetransfer.pipeline.bench.standing import bench_command

    hint = "" if data else " (--data, with labelled examples, for its accuracy)"
    return f"not measured yet: {bench_command(folder, data)}{hint}"


def _tell(
    status: str, record: Mapping[str, Any], folder: Path | None, data: DataSpec | None
) -> None:
    old = record["old_examples"]
    lines = [
        "",
        f"{status}  {record['name']!r} from {record['examples']} examples",
        f"  {record['old_decisions_changed']} of {old} decisions on old classes changed"
        f" ({record['checked_on']})",
    ]
    if record["leave_one_out"] is not None:
        low, high = (100 * each for each in record["leave_one_out_ci95"])
        lines.append(
            f"  {record['leave_one_out']} of {record['examples']} new examples are recognised by a "
            f"head that did not see them [{low:.0f}, {high:.0f}] %"
        )
    if record["new_examples"]:
        low, high = (100 * each for each in record["new_recall_ci95"])
        lines.append(
            f"  {record['new_found']} of {record['new_examples']} other examples of it are "
            f"recognised [{low:.0f}, {high:.0f}] %"
        )
    if folder is None:
        lines.append("  refused: nothing was written. --max-drop allows more")
    else:
        lines += [
            f"  {folder}",
            f"  {_measure_with(folder, data)}",
        ]
    show("\n".join(lines) + "\n")


def engine(folder: Path, capability: str, out: Path | None, *, as_json: bool) -> None:
    """Build an engine and say what may load it."""
    from edgetransfer.pipeline.ship.engine import build_engine

    file = out or Path(f"engine-{capability}.plan")
    built = build_engine(folder, capability, file, TerminalReporter())
    if as_json:
        print_json({**asdict(built), "file": str(built.file)})
        return
    show(
        f"{built.file}: {built.bytes / 2**20:.1f} MiB, {built.layers} layers, for a GPU of compute "
        f"capability {built.compute_capability}\n"
        f"loads with {built.runtime} alone; not run, not measured: "
        f"edgetransfer bench {folder} --data TEST_DATA, on that machine\n"
    )


def head_export(folder: Path, file: Path) -> None:
    """Write a head file and say how large it is."""
    from edgetransfer.pipeline.ship.heads import export_heads

    heads, size = export_heads(folder, file)
    show(f"{file}: {len(heads.labels)} classes, {size / 1024:.1f} KiB\n")


def head_apply(folder: Path, file: Path, out: Path) -> None:
    """Write the bundle with that head."""
    from edgetransfer.pipeline.ship.heads import apply_heads

    heads = apply_heads(folder, file, out, TerminalReporter())
    show(f"{out}: {len(heads.labels)} classes\n{_measure_with(out)}\n")
