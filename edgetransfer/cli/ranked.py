"""Prints ranked backbones.

It does not rank them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from edgetransfer.cli.console import Console

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

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
