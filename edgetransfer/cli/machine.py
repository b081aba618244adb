"""The commands about machines: what one has, what can be built for, what is kept on its disk."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgetransfer.cli import options as o
from edgetransfer.cli.terminal import Console, TerminalReporter, flat, print_json, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from edgetransfer.pipeline.doctor import Examination

_LACKS = 6
"""Exit code where a target that was named lacks something: that of what cannot be done."""
_ON = typer.Option(
    metavar="WHERE",
    help="What to look at, as `bench --on` takes it.",
    autocompletion=o.offer_places,
)
_TARGET = typer.Option(
    help="Only this target; repeatable. Exit 6 if it lacks.", autocompletion=o.offer_targets
)
_DAY_S = 24 * 3600
_MIB = 2**20


def doctor(
    on: Annotated[str, _ON] = "local",
    target: Annotated[list[str] | None, _TARGET] = None,
    prepare: Annotated[
        list[str] | None,
        typer.Option(metavar="qemu:CPU", help="Fetch what an emulated processor needs."),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Where it is kept; default: EDGETRANSFER_CACHE.")
    ] = None,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Show what a machine has, what each target needs, and how to fix it.

    It never changes a setting; `--prepare` alone writes, into the cache.
    """
    from dataclasses import asdict

    from edgetransfer.pipeline import doctor as use_case
    from edgetransfer.spec.catalogue import default_cache

    kept = cache or default_cache()
    if prepare:
        done = use_case.prepare(prepare, kept, TerminalReporter(quiet=quiet))
        if json:
            print_json(done)
        else:
            _show_prepared(done, cache)
        return
    found = use_case.examine(on, target or (), kept)
    if json:
        print_json(asdict(found))
    else:
        _show_examined(found)
    if target and any(row.state == "lacks" for row in found.targets):
        sys.exit(_LACKS)


def _show_prepared(done: Sequence[Mapping[str, Any]], cache: Path | None) -> None:
    before = f"EDGETRANSFER_CACHE={cache} " if cache else ""
    for record in done:
        typer.echo(f"\n  {record['folder']}")
        typer.echo(f"  {before}edgetransfer bench BUNDLE --on {record['where']}")


def _show_examined(found: Examination) -> None:
    console = Console()

    def show(
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        fixes: Iterable[str | None] = (),
    ) -> None:
        made = table(columns, rows)
        made.columns[0].no_wrap = len(columns) > 1
        console.print(f"\n{title}", style="bold")
        console.indented(made)
        for command in dict.fromkeys(fixes):
            if command:
                console.unbroken(f"    {command}")

    show(found.where, ("", ""), ((name, value) for name, value in _facts(found) if value))
    if found.findings:
        show("To fix", [""], ([e.what] for e in found.findings), (e.fix for e in found.findings))
    show(
        "Targets",
        ("target", "here", ""),
        ((r.name, r.state, "; ".join(each.what for each in r.findings)) for r in found.targets),
        (each.fix for row in found.targets for each in row.findings),
    )
    show(
        "Emulated processors, for numbers only",
        ("on", "what it is", ""),
        ((r.where, r.title, r.emulator or r.why or "not prepared") for r in found.previews),
        (
            f"edgetransfer doctor --prepare {row.where}"
            for row in found.previews
            if not row.prepared and row.why is None
        ),
    )


def _facts(found: Examination) -> Iterator[tuple[str, str]]:
    told, takes = found.environment, found.capabilities or {}
    heat = (told.get("conditions") or {}).get("temperatures_c") or {}
    memory, free = told.get("memory_mib"), takes.get("free_memory_mib")
    newest = f"IR version {takes['ir_version']}, opset {takes['opset']}" if takes else ""
    yield "processor", f"{told.get('cpu')}, {told.get('cores')} cores"
    yield "instructions", f"{told.get('arch')}: {', '.join(told.get('isa') or ()) or 'none known'}"
    yield "system", ", ".join(str(told[key]) for key in ("os", "libc") if told.get(key))
    yield "Python", f"{told.get('python')}, numpy {told.get('numpy')}" if "numpy" in told else ""
    yield "runtime", str(told.get("runtime") or "does not load")
    yield "providers", ", ".join(told.get("providers") or ())
    yield "takes", f"{newest} (tried)" if newest else ""
    yield "governor", str(told.get("governor") or "not told")
    yield "temperature", ", ".join(f"{v:.0f} °C {k}" for k, v in heat.items()) or "not told"
    yield "memory", f"{free} of {memory} MiB free" if free else f"{memory} MiB" if memory else ""
    yield "disk", f"{takes['free_disk_mib']} MiB free" if "free_disk_mib" in takes else ""


def targets(
    name: Annotated[
        str | None, typer.Argument(help="Show one in full.", autocompletion=o.offer_targets)
    ] = None,
    json: o.Json = False,
) -> None:
    """List the devices that can be built for."""
    from edgetransfer.spec import catalogue

    names = catalogue.names("targets") if name is None else [name]
    specs = [catalogue.target(each) for each in names]
    if json:
        print_json([spec.model_dump(mode="json") for spec in specs])
    elif name:
        told = flat(specs[0].model_dump(mode="json", exclude_none=True))
        Console().print(table(("", ""), told))
    else:
        columns = ("target", "what it is", "precision", "evidence")
        rows = [
            (
                spec.name,
                spec.title,
                "of its class" if spec.detect else spec.precision,
                spec.evidence.status,
            )
            for spec in specs
        ]
        Console().print(table(columns, rows))


def cache_list(cache: o.Cache = None) -> None:
    """List finished stages, newest first."""
    from datetime import datetime

    rows = []
    for entry in o.store_at(cache).entries():
        made = datetime.fromtimestamp(entry.made_at).astimezone().strftime("%Y-%m-%d %H:%M")
        rows.append((entry.stage, entry.key, f"{entry.bytes / _MIB:.1f} MiB", made))
    Console().print(table(("stage", "key", "size", "made"), rows, right=["size"]))


def cache_size(cache: o.Cache = None) -> None:
    """Say how much is kept, and where."""
    store = o.store_at(cache)
    entries = store.entries()
    total = sum(entry.bytes for entry in entries)
    Console().unbroken(f"{total / _MIB:.1f} MiB in {len(entries)} stages, in {store.root}")


def cache_clean(
    cache: o.Cache = None,
    older_than: Annotated[
        float, typer.Option(min=0.0, metavar="DAYS", help="Keep what is newer.")
    ] = 0.0,
) -> None:
    """Delete finished stages; a later build makes them again."""
    freed = o.store_at(cache).clean(older_than_s=older_than * _DAY_S)
    Console().print(f"freed {freed / _MIB:.1f} MiB")
