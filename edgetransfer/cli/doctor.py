"""The command that looks at a machine: it parses, calls one use case, and prints."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetransfer.cli import options as o

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from edgetransfer.pipeline.doctor import Examined

_LACKS = 6
"""Exit code where a target that was named lacks something: that of what cannot be done."""


def doctor(
    on: Annotated[
        str, typer.Option(metavar="WHERE", help="What to look at, as `bench --on` takes it.")
    ] = "local",
    target: Annotated[
        list[str] | None, typer.Option(help="Only this target; repeatable. Exit 6 if it lacks.")
    ] = None,
    prepare: Annotated[
        list[str] | None,
        typer.Option(metavar="qemu:CPU", help="Fetch what an emulated processor needs."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where it is kept; default: EDGETRANSFER_CACHE.")
    ] = None,
    json: o.Json = False,
) -> None:
    """Say what a machine has, what each target would need, and what mends it.

    It never changes a setting; `--prepare` alone writes, into the cache.
    """
    from dataclasses import asdict

    from edgetransfer.cli.progress import TerminalReporter
    from edgetransfer.cli.use import print_json
    from edgetransfer.pipeline import doctor as use_case
    from edgetransfer.spec.catalogue import default_cache

    kept = cache or default_cache()
    if prepare:
        done = use_case.prepare(prepare, kept, TerminalReporter())
        if json:
            print_json(done)
        else:
            _prepared(done, kept if cache else None)
        return
    found = use_case.examine(on, target or (), kept)
    if json:
        print_json(asdict(found))
    else:
        _examined(found)
    if target and any(row.state == "lacks" for row in found.targets):
        sys.exit(_LACKS)


def _prepared(done: "Sequence[Mapping[str, Any]]", cache: Path | None) -> None:
    before = f"EDGETRANSFER_CACHE={cache} " if cache else ""
    for record in done:
        typer.echo(f"\n  {record['folder']}")
        typer.echo(f"  {before}edgetransfer bench BUNDLE --on {record['where']}")


def _examined(found: "Examined") -> None:
    from rich.padding import Padding

    from edgetransfer.cli.console import Console

    console = Console()

    def show(title: str, table: object) -> None:
        console.print(f"\n{title}", style="bold")
        console.print(Padding(table, (0, 0, 0, 2)))  # type: ignore[arg-type]

    def commands(given: "Iterable[str | None]") -> None:
        for command in dict.fromkeys(given):
            if command:
                console.print(f"    {command}", markup=False, soft_wrap=True)

    show(found.where, _facts(found))
    if found.findings:
        show("To mend", _findings(found))
        commands(each.fix for each in found.findings)
    show("Targets", _targets(found))
    commands(each.fix for row in found.targets for each in row.findings)
    show("Emulated processors, for numbers only", _previews(found))
    commands(
        f"edgetransfer doctor --prepare {row.where}"
        for row in found.previews
        if not row.prepared and row.why is None
    )


def _table(*columns: str) -> Any:  # noqa: ANN401 (rich is loaded when it is needed)
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=bool(columns[0]))
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    return table


def _facts(found: "Examined") -> object:
    from rich.text import Text

    table = _table("", "")
    for name, value in _rows(found):
        if value:
            table.add_row(name, Text(value))
    return table


def _rows(found: "Examined") -> "Sequence[tuple[str, str]]":
    told, takes = found.environment, found.capabilities or {}
    conditions = told.get("conditions") or {}
    heat = conditions.get("temperatures_c") or {}
    memory = told.get("memory_mib")
    free = takes.get("free_memory_mib")
    newest = f"IR version {takes['ir_version']}, opset {takes['opset']}" if takes else ""
    return (
        ("processor", f"{told.get('cpu')}, {told.get('cores')} cores"),
        ("instructions", f"{told.get('arch')}: {', '.join(told.get('isa') or ()) or 'none known'}"),
        ("system", ", ".join(str(told[key]) for key in ("os", "libc") if told.get(key))),
        ("Python", f"{told.get('python')}, numpy {told.get('numpy')}" if "numpy" in told else ""),
        ("runtime", str(told.get("runtime") or "does not load")),
        ("providers", ", ".join(told.get("providers") or ())),
        ("takes", f"{newest} (tried)" if newest else ""),
        ("governor", str(told.get("governor") or "not told")),
        ("temperature", ", ".join(f"{v:.0f} °C {k}" for k, v in heat.items()) or "not told"),
        ("memory", f"{free} of {memory} MiB free" if free else f"{memory} MiB" if memory else ""),
        ("disk", f"{takes['free_disk_mib']} MiB free" if "free_disk_mib" in takes else ""),
    )


def _findings(found: "Examined") -> object:
    from rich.text import Text

    table = _table("")
    table.columns[0].no_wrap = False
    for each in found.findings:
        table.add_row(Text(each.what))
    return table


def _targets(found: "Examined") -> object:
    from rich.text import Text

    table = _table("target", "here", "")
    for row in found.targets:
        table.add_row(row.name, row.state, Text("; ".join(each.what for each in row.findings)))
    return table


def _previews(found: "Examined") -> object:
    table = _table("on", "what it is", "")
    for row in found.previews:
        table.add_row(row.where, row.title, row.emulator or row.why or "not prepared")
    return table
