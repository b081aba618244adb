"""One CSV, TSV, JSONL or Parquet file to rows of strings."""

from __future__ import annotations

import codecs
import csv
import importlib
import io
import json
import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.errors import DataError, MissingExtraError
from edgetransfer.spec.outside import MIB, Kind, content_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@dataclass(frozen=True)
class Table:
    """A table as read.

    Attributes:
        path: the file.
        columns: names in the order of the file, without nameless ones (an exported row index).
        rows: number and cells of each row, every column present. Numbers count as a spreadsheet
            does: a header is row 1, so the first example of a CSV is row 2, of a JSONL row 1.
        problems: rows that could not be read, one line each.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    problems: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read one table by its extension.

    Raises:
        DataError: not a table, not UTF-8, no header, no rows, a column named twice.
        MissingExtraError: Parquet without pyarrow.
    """
    table = _READERS[path.suffix.lower()](path)
    if not table.columns:
        raise DataError("the table has no columns", where=str(path), expected="a header")
    if not table.rows and not table.problems:
        raise DataError("the table has no rows", where=str(path), expected="one example a row")
    return table


_FILE = Kind("table", 4096 * MIB, DataError)
_SEPARATORS = ",;\t|"
_LONGEST_CELL = 1 << 26
csv.field_size_limit(_LONGEST_CELL)


def _text(path: Path) -> str:
    """Read UTF-8, or UTF-16 with its mark, as spreadsheets save "Unicode text"."""
    content = content_of(path, _FILE)
    wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "the table is not UTF-8 text",
            where=str(path),
            found=f"byte {error.object[error.start]:#04x} at offset {error.start:,}",
            fix="save it with the encoding UTF-8",
        ) from error


def _separator(header: str) -> str:
    """The commonest of comma, semicolon (spreadsheets in much of Europe), tab, bar; tie: comma."""
    return max(_SEPARATORS, key=header.count)


def _named_separator(text: str) -> tuple[str | None, str]:
    """Take off the line ``sep=;`` that Excel reads and does not count."""
    first, _, rest = text.partition("\n")
    named = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
    return (named[1], rest) if named else (None, text)


def _read_separated(path: Path) -> Table:
    separator, text = _named_separator(_text(path))
    if separator is None:
        by_name = "\t" if path.suffix.lower() == ".tsv" else None
        separator = by_name or _separator(io.StringIO(text, newline="").readline())
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        lines = list(enumerate(reader, start=1))
    except csv.Error as error:
        raise DataError(
            "a cell is too long"
            if "field larger" in str(error)
            else "the table's quoting is broken",
            where=f"{path} line {reader.line_num}",
            found=str(error),
            fix='put quotes around the cell and double the quotes inside it ("")',
        ) from error
    header = [name.strip() for name in lines[0][1]] if lines else []
    columns = _columns(path, header)
    rows, problems = [], []
    for number, cells in lines[1:]:
        if any(cell.strip() for cell in cells[len(header) :]):
            problems.append(
                f"{path.name} row {number}: {len(cells)} cells, but the header has {len(header)}"
            )
        elif cells:
            padded = cells[: len(header)] + [""] * (len(header) - len(cells))
            named = zip(header, padded, strict=True)
            rows.append((number, {name: cell for name, cell in named if name}))
    return Table(path, columns, tuple(rows), tuple(problems))


def _columns(path: Path, header: list[str]) -> tuple[str, ...]:
    named = [name for name in header if name]
    twice = [name for name, times in Counter(named).items() if times > 1]
    if twice:
        raise DataError(
            "a column stands twice in the header",
            where=str(path),
            found=", ".join(twice),
            fix="rename one of them",
        )
    return tuple(named)


def _read_jsonl(path: Path) -> Table:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    problems = []
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else "too deep or too long"
            problems.append(f"{path.name} row {number}: not JSON ({why})")
            continue
        if isinstance(value, dict):
            rows.append((number, value))
        else:
            problems.append(f"{path.name} row {number}: not an object like {{...}}")
    return _from_values(path, rows, problems)


def _read_parquet(path: Path) -> Table:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "parquet", purpose=f"reading {path.name}") from error
    try:
        values = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError("not a readable Parquet file", where=str(path), found=str(error)) from error
    return _from_values(path, list(enumerate(values, start=1)), [])


def _from_values(path: Path, rows: list[tuple[int, Mapping[str, Any]]], bad: list[str]) -> Table:
    columns = tuple(dict.fromkeys(str(name) for _, row in rows for name in row))
    cells = tuple((n, {name: _cell(row.get(name)) for name in columns}) for n, row in rows)
    return Table(path, columns, cells, tuple(bad))


def _cell(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return str(value)  # dates, decimals and bytes of a Parquet file


_READERS: Mapping[str, Callable[[Path], Table]] = {
    ".csv": _read_separated,
    ".tsv": _read_separated,
    ".jsonl": _read_jsonl,
    ".parquet": _read_parquet,
}

TABLE_SUFFIXES = frozenset(_READERS)
