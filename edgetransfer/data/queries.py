"""What was asked about on a command line: pictures, folders, tables, texts, or lines of a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgetransfer.data.inputs import READERS, Query, is_there, refuse_missing
from edgetransfer.data.tables import TABLE_SUFFIXES, assign_roles, read_table
from edgetransfer.errors import DataError, EdgeTransferError
from edgetransfer.spec.preprocess import INPUTS, Modality
from edgetransfer.spec.recipe import DataSpec

PIPE = "-"


@dataclass(frozen=True)
class Columns:
    """Names of columns that the user gave."""

    text: str | None = None
    file: str | None = None


def asked_about(
    given: Iterable[str], modality: Modality, columns: Columns | None = None
) -> Iterator[Query]:
    """Yield every example that is asked about, in order; what is wrong with one ends no other.

    A folder stands for the pictures in it, a table for its rows, a .txt file for its lines, ``-``
    for the lines of standard input, each a path or a text.
    """
    for each in given:
        try:
            if each == PIPE:
                lines = (line.rstrip("\r\n") for line in sys.stdin)
                yield from asked_about((line for line in lines if line.strip()), modality, columns)
            else:
                yield from _of_one(each, modality, columns or Columns())
        except EdgeTransferError as error:
            yield Query(each, None, problem=error)


def _of_one(each: str, modality: Modality, columns: Columns) -> Iterator[Query]:
    path = Path(each).expanduser()
    file = path if not any(map(str.isspace, each)) or is_there(path, Path.is_file) else None
    if file is not None and path.suffix.lower() in TABLE_SUFFIXES:
        yield from _of_table(path, modality, columns)
    else:
        yield from READERS[modality].asked(each, path, file)


def _of_table(path: Path, modality: Modality, columns: Columns) -> Iterator[Query]:
    refuse_missing(path)
    table = read_table(path)
    spec = DataSpec(source=str(path), text_column=columns.text, file_column=columns.file)
    roles = assign_roles(table, spec, needs_label=False)
    if roles.modality != modality:
        raise DataError(
            f"the table is about {INPUTS[roles.modality].noun}s, and the model is for "
            f"{INPUTS[modality].noun}s",
            where=str(path),
            found=f"the column {roles.content}",
        )
    for problem in table.problems:
        yield Query(problem, None, problem, DataError(problem))
    for number, cells in table.rows:
        if any(each.strip() for each in cells.values()):
            where = f"{path.name} row {number}"
            yield READERS[modality].query(path.parent, cells[roles.content], where)
