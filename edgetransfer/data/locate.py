"""What stands at a data source: a folder of pictures, or tables and the splits they are for.

It does not read what it finds.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.names import SPLIT_NAMES, is_leaving, kind_of, splits_of
from edgetransfer.data.tables import TABLE_SUFFIXES
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.data.manifest import Split

_EXPECTED = "a folder of pictures, or a CSV, TSV, JSONL or Parquet table"
_SHARD = re.compile(r"-\d+-of-\d+$")

_INSTEAD: Mapping[str, str] = {
    ".json": "save one object a line as .jsonl; annotations for detection (COCO) are not supported",
    ".xlsx": "save the sheet as CSV (UTF-8)",
    ".xls": "save the sheet as CSV (UTF-8)",
    ".txt": "give it a header and save it as CSV",
    ".zip": "unpack it and give the folder",
    ".gz": "unpack it and give the folder or the table",
    ".tar": "unpack it and give the folder",
    ".tgz": "unpack it and give the folder",
    **dict.fromkeys(PICTURE_SUFFIXES, "give the folder that the picture is in"),
}


@dataclass(frozen=True)
class NamedTable:
    """A table, and the split that its name gives, if any."""

    path: Path
    split: Split | None = None


@dataclass(frozen=True)
class Located:
    """Where the data is; without tables it is a folder of pictures."""

    root: Path
    tables: tuple[NamedTable, ...] = ()
    notes: tuple[str, ...] = ()


def locate(source: str) -> Located:
    """Find out what a source is.

    Raises:
        DataError: nothing there, not data, or more than one table that could be meant.
    """
    path = Path(source).expanduser()
    if not path.exists():
        raise _missing(source, path.absolute())
    if path.is_dir():
        return _in_folder(path.resolve())
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        kind = None if suffix in _INSTEAD else kind_of(Counter([suffix]))
        raise DataError(
            kind[0] if kind else "not a data set that can be read",
            where=source,
            found=f"a file with the extension {suffix}" if suffix else "a file with no extension",
            expected=_EXPECTED,
            fix=kind[1] if kind else _INSTEAD.get(suffix),
        )
    if not path.is_file():
        raise DataError("no regular file", where=source, expected=_EXPECTED)
    # Only the folder is resolved: a linked table names files relative to where the link stands.
    root = path.parent.resolve()
    return Located(root, (NamedTable(root / path.name),))


def _in_folder(folder: Path) -> Located:
    tables = sorted(
        (
            p
            for p in folder.iterdir()
            if p.is_file() and p.suffix.lower() in TABLE_SUFFIXES and not is_leaving(p.name)
        ),
        key=lambda p: p.name,
    )
    stems = {p: _SHARD.sub("", p.stem) for p in tables}
    # Of a table alone, a word in its name is no split: "dev questions.csv" is all there is.
    alone = len(tables) == 1 and stems[tables[0]].lower() not in SPLIT_NAMES
    meant = dict.fromkeys(stems.values()) if alone else splits_of(stems.values())
    named = [NamedTable(p, meant[stems[p]]) for p in tables]
    of_splits = [t for t in named if t.split is not None]
    if of_splits:
        _refuse_twice(folder, of_splits)
        of_splits.sort(key=lambda t: (t.split != "train", t.split == "test", t.path.name))
        rest = [t.path.name for t in named if t.split is None]
        notes = [f"left out beside the tables for splits: {', '.join(rest)}"] if rest else []
        return Located(folder, tuple(of_splits), tuple(notes))
    if len(named) > 1:
        raise DataError(
            "more than one table in the folder",
            where=str(folder),
            found=", ".join(t.path.name for t in named),
            expected="one table, or tables named train, val and test",
            fix="give the table itself",
        )
    return Located(folder, tuple(named))


def _refuse_twice(folder: Path, tables: list[NamedTable]) -> None:
    """train.csv beside train.tsv is one set saved twice; numbered shards are one set in parts."""
    seen: dict[str, Path] = {}
    for table in tables:
        split = str(table.split)
        first = seen.setdefault(split, table.path)
        shards = _SHARD.search(table.path.stem) and _SHARD.search(first.stem)
        if first != table.path and not shards:
            raise DataError(
                f"two tables for the split {split}",
                where=str(folder),
                found=f"{first.name} and {table.path.name}",
                fix="put them together, or take one away",
            )


def _missing(source: str, path: Path) -> DataError:
    if re.match(r"(hf|https?|s3|gs)://|hf:", source):
        return DataError(
            "data is read from this machine only",
            where=source,
            found="an address",
            expected=_EXPECTED,
            fix="download it first and give the folder",
        )
    fix = "check the path"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith("."):
        fix += "; if this is a data set of the Hugging Face Hub, download it and give the folder"
    parent = next(p for p in path.parents if p.exists())
    return DataError(
        "no such folder or file",
        where=source,
        found=f"nothing; the nearest folder that exists is {parent}",
        expected=_EXPECTED,
        fix=fix,
    )
