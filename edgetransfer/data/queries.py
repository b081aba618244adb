"""What was asked about on a command line: pictures, folders, tables, texts, or lines of a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edgetransfer.data.folders import pictures_below
from edgetransfer.data.manifest import Example
from edgetransfer.data.rows import find_picture
from edgetransfer.data.tables import LINES, TABLE_SUFFIXES, assign_roles, read_table, texts_of
from edgetransfer.errors import DataError, EdgeTransferError
from edgetransfer.spec.preprocess import INPUTS, Modality
from edgetransfer.spec.recipe import DataSpec

PIPE = "-"


@dataclass(frozen=True)
class Query:
    """One picture or text that was asked about, or why there is none.

    Shown is the text, the path of the picture, or what was written where there is none; `where` is
    the row of a table or the line of a file, empty for what was written itself.
    """

    shown: str
    example: Example | None
    where: str = ""
    problem: EdgeTransferError | None = None


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
    names_file = not any(map(str.isspace, each)) or _is(path, Path.is_file)
    if path.suffix.lower() in TABLE_SUFFIXES and names_file:
        yield from _of_table(path, modality, columns)
    elif modality == "image":
        yield from _of_picture(each, path)
    elif path.suffix.lower() == LINES and names_file:
        _refuse_missing(path)
        for where, text in texts_of(path, None):
            if text.strip():
                yield _text(text, where)
    elif "/" in each and _is(path, Path.is_dir):
        raise DataError("a folder, and the model is for texts", where=each, expected=_TEXTS)
    elif "/" in each and _is(path, Path.is_file):
        raise DataError("a file that holds no texts", where=each, expected=_TEXTS)
    else:
        yield _text(each, "")


_TEXTS = "a text in quotes, a table, or a .txt file with a text a line"


def _is(path: Path, what: object) -> bool:
    try:
        return bool(what(path))  # type: ignore[operator]
    except (OSError, ValueError):  # a long text is no name of a file
        return False


def _refuse_missing(path: Path) -> None:
    if not path.is_file():
        found = "no such file" if not path.exists() else "no regular file"
        raise DataError("the file cannot be read", where=str(path), found=found)


def _text(text: str, where: str) -> Query:
    if not text.strip():
        problem = DataError("empty text", where=where or "INPUT", expected="a word at least")
        return Query(text, None, where, problem)
    return Query(text, Example(where or text, None, text, None, "test", {}, ""), where)


def _picture(path: Path, where: str = "") -> Query:
    return Query(str(path), Example(str(path), path, None, None, "test", {}, ""), where)


def _of_picture(each: str, path: Path) -> Iterator[Query]:
    if not _is(path, Path.is_dir):
        yield _picture(Path(each) if each == str(path) else path)
        return
    inside = sorted(pictures_below(path))
    if not inside:
        raise DataError("no picture in the folder", where=each)
    yield from map(_picture, inside)


def _of_table(path: Path, modality: Modality, columns: Columns) -> Iterator[Query]:
    _refuse_missing(path)
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
        where, cell = f"{path.name} row {number}", cells[roles.content]
        if not any(each.strip() for each in cells.values()):
            continue
        if modality == "text":
            yield _text(cell, where)
        else:
            yield _picture(find_picture(path.parent, cell.strip()), where)
