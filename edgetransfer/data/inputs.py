"""How examples of each kind of input are named and read, in tables and on a command line.

Pictures are files, texts stand in them: each kind has a reader of the same methods, so that nobody
else asks which it is.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.digests import normalise
from edgetransfer.data.folders import pictures_below, unread_below
from edgetransfer.data.locate import kind_of, locate
from edgetransfer.data.manifest import Example
from edgetransfer.data.tables import TABLE_SUFFIXES, assign_roles, read_lines, read_table
from edgetransfer.errors import DataError, EdgeTransferError
from edgetransfer.spec.preprocess import INPUTS
from edgetransfer.spec.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from edgetransfer.spec.preprocess import Modality

LINES, PIPE = ".txt", "-"
_TEXTS = "a text in quotes, a table, or a .txt file with a text a line"


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


class PictureReader:
    """Files that a table names, or that lie in folders."""

    def cell(self, folder: Path, cell: str) -> tuple[Path | None, Sequence[str]]:
        """Return the file that a cell of a table names, None of a text, and what is wrong."""
        path = _find_picture(folder, cell.strip())
        return path, _wrong_with(path, cell.strip())

    def refuse_cell(self, first: str, column: str, table: Path) -> None:
        """Meet pictures that stand in the table itself."""
        if first.startswith("{"):
            raise DataError(
                f"the column {column} holds pictures, not names of files",
                where=str(table),
                expected="the path of a picture in each row",
                fix="save the pictures as files and name them in the table",
            )

    def asked(self, each: str, path: Path, file: Path | None) -> Iterator[Query]:
        """Yield what a word of a command line asks about; it is a `file` where it may name one."""
        if not _is_there(path, Path.is_dir):
            yield _picture(Path(each) if each == str(path) else path)
            return
        inside = sorted(pictures_below(path))
        if not inside:
            raise DataError("no picture in the folder", where=each)
        yield from map(_picture, inside)

    def query(self, folder: Path, cell: str, where: str) -> Query:
        """Return the picture that a cell names."""
        return _picture(_find_picture(folder, cell.strip()), where)

    def find(self, source: str) -> tuple[Path, list[Path]]:
        """Return a folder, and all pictures in it."""
        where, path = f"--unlabelled {source}", Path(source).expanduser().absolute()
        if not path.is_dir():
            expected = "a folder of pictures; folders in it may have any names"
            raise DataError("no such folder", where=where, expected=expected)
        found = sorted(pictures_below(path))
        if not found:
            raise DataError("no picture in the folder", where=where)
        return path, found

    def unlabelled(
        self, root: Path, files: Sequence[Path], column: str | None
    ) -> Iterator[Example]:
        """Yield each file."""
        for file in files:
            key = file.relative_to(root).as_posix()
            yield Example(key, file, None, None, "train", {}, where=key)

    def unread(self, root: Path) -> str | None:
        """Say how many are of a format that is not read."""
        return unread_below(root)


class TextReader:
    """Cells of a table, lines of a file, or words of a command line."""

    def cell(self, folder: Path, cell: str) -> tuple[Path | None, Sequence[str]]:
        """Return nothing: the cell is the text."""
        return None, ()

    def refuse_cell(self, first: str, column: str, table: Path) -> None:
        """Refuse none."""

    def asked(self, each: str, path: Path, file: Path | None) -> Iterator[Query]:
        """Yield a text, or the lines of a file."""
        if file is not None and path.suffix.lower() == LINES:
            _refuse_missing(path)
            yield from (_text(text, where) for where, text in _texts(path, None) if text.strip())
        elif "/" in each and _is_there(path, Path.is_dir):
            raise DataError("a folder, and the model is for texts", where=each, expected=_TEXTS)
        elif "/" in each and _is_there(path, Path.is_file):
            raise DataError("a file that holds no texts", where=each, expected=_TEXTS)
        else:
            yield _text(each, "")

    def query(self, folder: Path, cell: str, where: str) -> Query:
        """Return the text of a cell."""
        return _text(cell, where)

    def find(self, source: str) -> tuple[Path, list[Path]]:
        """Return a file of lines, or the tables of a source."""
        path = Path(source).expanduser().absolute()
        if path.suffix.lower() == LINES and path.is_file():
            return path.parent, [path]
        located = locate(source)
        if not located.tables:
            raise DataError(
                "no texts in the folder",
                where=f"--unlabelled {source}",
                expected="a CSV, TSV, JSONL or Parquet table, or a .txt file with a text a line",
            )
        return located.root, [named.path for named in located.tables]

    def unlabelled(
        self, root: Path, files: Sequence[Path], column: str | None
    ) -> Iterator[Example]:
        """Yield the texts of those files that are not empty."""
        for file in files:
            for where, text in _texts(file, column):
                if normalise(text):
                    yield Example(where, None, text, None, "train", {}, where=where)

    def unread(self, root: Path) -> None:
        """Say nothing: all is read."""


READERS: Mapping[Modality, PictureReader | TextReader] = {
    "image": PictureReader(),
    "text": TextReader(),
}


def asked_about(given: Iterable[str], modality: Modality, **columns: str | None) -> Iterator[Query]:
    """Yield every example that is asked about, in order; what is wrong with one ends no other.

    A folder stands for the pictures in it, a table for its rows, a .txt file for its lines, ``-``
    for the lines of standard input, each a path or a text. The user gave the names of columns,
    ``text_column`` and ``file_column``.
    """
    for each in given:
        try:
            if each == PIPE:
                lines = (line.rstrip("\r\n") for line in sys.stdin)
                yield from asked_about(
                    (line for line in lines if line.strip()), modality, **columns
                )
            else:
                yield from _of_one(each, modality, columns)
        except EdgeTransferError as error:
            yield Query(each, None, problem=error)


def _of_one(each: str, modality: Modality, columns: Mapping[str, str | None]) -> Iterator[Query]:
    path = Path(each).expanduser()
    file = path if not any(map(str.isspace, each)) or _is_there(path, Path.is_file) else None
    if file is not None and path.suffix.lower() in TABLE_SUFFIXES:
        yield from _of_table(path, modality, columns)
    else:
        yield from READERS[modality].asked(each, path, file)


def _of_table(path: Path, modality: Modality, columns: Mapping[str, str | None]) -> Iterator[Query]:
    _refuse_missing(path)
    table = read_table(path)
    spec = DataSpec.model_validate({"source": str(path), **columns})
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


def _is_there(path: Path, what: Callable[[Path], bool]) -> bool:
    """Tell whether it is a file or a folder, as asked; a long text is no name of either."""
    try:
        return what(path)
    except (OSError, ValueError):
        return False


def _refuse_missing(path: Path) -> None:
    """Meet a file that was named and is not there: a DataError."""
    if not path.is_file():
        found = "no such file" if not path.exists() else "no regular file"
        raise DataError("the file cannot be read", where=str(path), found=found)


def _text(text: str, where: str) -> Query:
    if not text.strip():
        problem = DataError("empty text", where=where or "INPUT", expected="a word at least")
        return Query(text, None, where, problem)
    return Query(text, Example(where or text, None, text, None, "test", {}), where)


def _texts(file: Path, text_column: str | None) -> Iterator[tuple[str, str]]:
    """Yield where a text stands, and the text: of a table's rows, or a file's lines.

    DataError as `read_table`, or for a table of pictures; SpecError where the column is not there.
    """
    if file.suffix.lower() == LINES:
        for number, line in enumerate(read_lines(file), start=1):
            yield f"{file.name} line {number}", line
        return
    table = read_table(file)
    spec = DataSpec(source=str(file), text_column=text_column)
    roles = assign_roles(table, spec, needs_label=False)
    if roles.modality != "text":
        raise DataError(
            "the table is about pictures, and the labelled examples are texts",
            where=str(file),
            found=f"the column {roles.content}",
            fix="name the column of texts with --text-column",
        )
    for number, cells in table.rows:
        yield f"{file.name} row {number}", cells[roles.content]


def _picture(path: Path, where: str = "") -> Query:
    return Query(str(path), Example(str(path), path, None, None, "test", {}), where)


def _find_picture(folder: Path, cell: str) -> Path:
    """The named file: relative to the table, else to the folder `images` beside it.

    A path of Windows is read as one of this system where there is no file of its very name.
    """
    for name in dict.fromkeys((cell, cell.replace("\\", "/"))):
        for candidate in (folder / name, folder / "images" / name):
            if candidate.is_file():
                return candidate
    return folder / cell


_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def _wrong_with(path: Path, cell: str) -> Sequence[str]:
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        windows = " (a path of another machine, with Windows)" if _DRIVE.match(cell) else ""
        return [f"the file {cell[:100]} {what}{windows}"]
    kind = kind_of(Counter([path.suffix.lower()]))
    if kind is not None and path.suffix.lower() != ".txt":
        return [f"the file {cell[:100]}: {kind[0]}"]
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        return [f"the file {cell[:100]} is no picture (by its extension)"]
    return []
