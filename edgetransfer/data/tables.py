"""One CSV, TSV, JSONL or Parquet file to rows of strings, and what its columns are."""

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

from edgetransfer.errors import DataError, MissingExtraError, SpecError
from edgetransfer.spec.outside import MIB, Kind, content_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edgetransfer.spec.preprocess import Modality
    from edgetransfer.spec.recipe import DataSpec


@dataclass(frozen=True)
class Table:
    """A table as read: columns in the order of the file, without nameless ones (an exported index).

    Rows have their number and their cells, every column present. Numbers count as a spreadsheet
    does: a header is row 1, so the first example of a CSV is row 2, of a JSONL row 1. Problems are
    rows that could not be read, a line each.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, Mapping[str, str]], ...]
    problems: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read one table by its extension.

    DataError where it is none, not UTF-8, without header or rows, or names a column twice;
    MissingExtraError for Parquet without pyarrow.
    """
    table = _READERS[path.suffix.lower()](path)
    if not table.columns:
        raise DataError("the table has no columns", where=str(path), expected="a header")
    if not table.rows and not table.problems:
        raise DataError("the table has no rows", where=str(path), expected="one example a row")
    return table


_FILE = Kind("table", 4096 * MIB, DataError)
_SEPARATORS = ",;\t|"
"""The commonest of the header is it, of equals the first; much of Europe has semicolons."""
_LONGEST_CELL = 1 << 26
csv.field_size_limit(_LONGEST_CELL)


def _text(path: Path, noun: str = "table") -> str:
    """Read UTF-8, or UTF-16 with its mark, as spreadsheets save "Unicode text"."""
    content = content_of(path, _FILE)
    wide = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"the {noun} is not UTF-8 text",
            where=str(path),
            found=f"byte {error.object[error.start]:#04x} at offset {error.start:,}",
            fix="save it with the encoding UTF-8",
        ) from error


def _read_separated(path: Path) -> Table:
    text = _text(path)
    first, _, rest = text.partition("\n")
    told = re.fullmatch(r'"?sep=(.)"?\s*', first, re.IGNORECASE)
    if told:
        separator, text = told[1], rest  # a line that Excel reads and does not count
    elif path.suffix.lower() == ".tsv":
        separator = "\t"
    else:
        separator = max(_SEPARATORS, key=io.StringIO(text, newline="").readline().count)
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


def read_lines(file: Path) -> list[str]:
    """Return the lines of a text file; a DataError where it cannot be read."""
    return _text(file, "file").replace("\r\n", "\n").split("\n")


FILE_COLUMNS = ("file", "image", "path", "filename", "file_name")
TEXT_COLUMNS = ("text", "sentence")
LABEL_COLUMNS = ("label", "category", "class", "intent")
SPLIT_COLUMNS = ("split",)
_NUMBER = re.compile(r"[-+]?(\d[\d_ ]*([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?|nan|NaN|")


@dataclass(frozen=True)
class Roles:
    """Names of columns as the table spells them; `metadata` are those with no role."""

    modality: Modality
    content: str
    label: str | None
    split: str | None
    metadata: tuple[str, ...]


def assign_roles(
    table: Table, spec: DataSpec, *, needs_label: bool, reads_split: bool = True
) -> Roles:
    """Find the roles of a table's columns: given names first, then by convention, in any case.

    SpecError where a given column does not exist, or two were given where one can be; DataError
    where the convention finds none, or several.
    """
    where = str(table.path)
    columns = table.columns
    modality, content = _content(table, spec)
    free = tuple(c for c in columns if c != content)
    label: str | None
    if spec.label_column is None:
        label = _by_convention(LABEL_COLUMNS, free, "--label-column", where)
    else:
        label = _given(spec.label_column, "--label-column", columns, where)
    if label == content:
        what = "one column cannot be both the example and its label"
        raise SpecError(what, where=where, found=label)
    if label is None and needs_label:
        raise DataError(
            "no column holds the labels",
            where=where,
            found=f"the columns {', '.join(columns)}",
            expected=f"a column named {_or(LABEL_COLUMNS)}",
            fix="name it with --label-column",
        )
    free = tuple(c for c in free if c != label)
    split = _by_convention(SPLIT_COLUMNS, free, None, where) if reads_split else None
    metadata = tuple(c for c in free if c != split)
    wanted = [("--split-by", spec.split_by)] if spec.split_by is not None else []
    for option, name in (*wanted, *(("--group-by", name) for name in spec.group_by)):
        if name not in metadata:
            raise _no_column(option, name, where, metadata)
    return Roles(modality, content, label, split, metadata)


def _content(table: Table, spec: DataSpec) -> tuple[Modality, str]:
    where, columns = str(table.path), table.columns
    if spec.text_column is not None and spec.file_column is not None:
        raise SpecError(
            "both a text column and a file column were given",
            where=where,
            found=f"{spec.text_column} and {spec.file_column}",
            fix="give only one of --text-column and --file-column",
        )
    if spec.text_column is not None:
        return "text", _given(spec.text_column, "--text-column", columns, where)
    if spec.file_column is not None:
        return "image", _given(spec.file_column, "--file-column", columns, where)
    free = tuple(c for c in columns if c != spec.label_column)
    file = _by_convention(FILE_COLUMNS, free, "--file-column", where)
    text = _by_convention(TEXT_COLUMNS, free, "--text-column", where)
    if file is not None and text is not None:
        raise DataError(
            "the table could be about pictures or about texts",
            where=where,
            found=f"the columns {file} and {text}",
            fix=f"give --file-column {file} or --text-column {text}",
        )
    if file is not None:
        return "image", file
    if text is not None:
        return "text", text
    _refuse_measurements(table, free)
    raise DataError(
        "no column holds the pictures or the texts",
        where=where,
        found=f"the columns {', '.join(columns)}",
        expected=f"a column named {_or(FILE_COLUMNS + TEXT_COLUMNS)}",
        fix="name it with --file-column or --text-column",
    )


def _refuse_measurements(table: Table, columns: tuple[str, ...]) -> None:
    rows = [cells for _, cells in table.rows[:100]]
    numeric = [c for c in columns if all(_NUMBER.fullmatch(row[c].strip()) for row in rows)]
    if rows and len(numeric) >= 2 and len(columns) - len(numeric) <= 2:
        raise DataError(
            "the table holds measurements, which are not supported yet",
            where=str(table.path),
            found=f"numbers in {len(numeric)} of the columns {', '.join(table.columns[:10])}",
            expected=f"a column of files or of texts, named {_or(FILE_COLUMNS + TEXT_COLUMNS)}",
            fix="draw each example (a window of a signal) as a picture, in one folder a class",
        )


def _given(name: str, option: str, columns: tuple[str, ...], where: str) -> str:
    if name in columns:
        return name
    alike = [c for c in columns if c.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    raise _no_column(option, name, where, columns)


def _no_column(option: str, name: str, where: str, known: tuple[str, ...]) -> SpecError:
    return SpecError(
        f"{option} names a column that does not exist",
        where=where,
        found=name,
        expected=f"one of {', '.join(known)}"
        if known
        else "a table with columns beside the example, its label and its split",
    )


def _by_convention(
    names: tuple[str, ...], columns: tuple[str, ...], option: str | None, where: str
) -> str | None:
    matches = [c for c in columns if c.lower() in names]
    if len(matches) > 1:
        # Taking the first would silently learn the wrong thing on tables that hold both.
        raise DataError(
            "more than one column could be meant",
            where=where,
            found=", ".join(matches),
            fix=f"choose with {option}" if option else "rename one of them",
        )
    return matches[0] if matches else None


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
