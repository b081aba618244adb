"""Texts without labels that an encoder is fitted with, and none that anything is judged on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data.columns import assign_roles
from edgetransfer.data.digests import add_digests, file_digests, normalise
from edgetransfer.data.locate import locate
from edgetransfer.data.reading import Record
from edgetransfer.data.tables import read_table
from edgetransfer.data.unlabelled import Named, nothing_near, without
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import silent
from edgetransfer.spec.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.data.manifest import Manifest
    from edgetransfer.data.unlabelled import Near
    from edgetransfer.spec.progress import Progress

LINES = ".txt"
_EXPECTED = "a CSV, TSV, JSONL or Parquet table, or a .txt file with a text a line"


def fingerprint(source: str) -> str:
    """sha256 (hex) over the names and bytes of the files that hold the texts.

    Raises:
        DataError: there is no such file.
    """
    root, files = _find(source)
    content = [
        str(root),
        list(zip([file.name for file in files], file_digests(files), strict=True)),
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def load(
    source: str,
    labelled: Manifest,
    text_column: str | None,
    *,
    near: Near = nothing_near,
    progress: Progress = silent,
) -> Manifest:
    """Read all texts of a file, or of the tables of a folder; labels in them are not read.

    What equals (see `text.normalise`) or nearly equals a text of the test or validation set is left
    out, so that nothing is judged on what it was fitted with; and so is what repeats a labelled
    text to train on, or another of these. Empty ones are passed over.

    Args:
        source: a table, a folder of tables, or a file with a text a line.
        labelled: the texts that it goes with.
        text_column: default: text or sentence.
        near: finds what nearly equals one that is judged on.
        progress: called once a text.

    Returns:
        The texts as train examples without a label; the notes say what was left out.

    Raises:
        DataError: no such file, no text column, or nothing left.
        SpecError: `text_column` does not exist.
        MissingExtraError: Parquet without pyarrow.
    """
    root, files = _find(source)
    records = [
        Record(where, where, None, text, None, "train", {})
        for file in files
        for where, text in texts_of(file, text_column)
        if normalise(text)
    ]
    found, _ = add_digests(records, progress)
    return without(found, labelled, Named(source, "text", root), near)


def _find(source: str) -> tuple[Path, list[Path]]:
    path = Path(source).expanduser().absolute()
    if path.suffix.lower() == LINES and path.is_file():
        return path.parent, [path]
    located = locate(source)
    if not located.tables:
        raise DataError(
            "no texts in the folder", where=f"--unlabelled {source}", expected=_EXPECTED
        )
    return located.root, [named.path for named in located.tables]


def texts_of(file: Path, text_column: str | None) -> Iterator[tuple[str, str]]:
    """Yield where a text stands, and the text: of a table's rows, or a file's lines."""
    if file.suffix.lower() == LINES:
        for number, line in enumerate(_lines(file), start=1):
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


def _lines(file: Path) -> list[str]:
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(
            "the file is not UTF-8 text",
            where=str(file),
            found=f"byte {error.object[error.start]:#04x} at offset {error.start:,}",
            fix="save it with the encoding UTF-8",
        ) from error
