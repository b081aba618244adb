"""Tables to records: the cells of each row put in their roles, the named files looked up."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.digests import normalise
from edgetransfer.data.locate import DataLocation, NamedTable, kind_of, splits_of
from edgetransfer.data.manifest import RawData, Record, Split, clean_label, count
from edgetransfer.data.tables import Roles, Table, assign_roles, read_table
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgetransfer.data.labels import LabelRules
    from edgetransfer.spec.recipe import DataSpec


@dataclass
class _TableContents:
    """What grows while rows are read."""

    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    first_row: dict[str, str] = field(default_factory=dict)
    unlabelled: int = 0
    blank: int = 0


@dataclass(frozen=True)
class _Context:
    """What holds for every row of one table."""

    root: Path
    table: Table
    roles: Roles
    rules: LabelRules
    split: Split | None
    split_by: str | None
    prefix: str
    labels_optional: bool
    splits: Mapping[str, Split | None]


def read_tables(
    located: DataLocation, spec: DataSpec, rules: LabelRules, *, labels_optional: bool
) -> RawData:
    """Read all tables of a source."""
    gathered = _TableContents()
    modalities = {}
    for named in located.tables:
        context = _context(located, named, spec, rules, optional=labels_optional)
        modalities[context.roles.modality] = named.path.name
        gathered.problems.extend(context.table.problems)
        for number, cells in context.table.rows:
            if any(cell.strip() for cell in cells.values()):
                _add_row(gathered, context, number, cells)
            else:
                gathered.blank += 1
    if len(modalities) > 1:
        raise DataError(
            "one table is about pictures and another about texts",
            where=str(located.root),
            found=f"pictures in {modalities['image']}, texts in {modalities['text']}",
        )
    notes = list(located.notes)
    if gathered.blank:
        notes.append(f"{count(gathered.blank, 'blank row')} left out")
    if gathered.unlabelled:
        notes.append(f"{count(gathered.unlabelled, 'row')} without a label")
    return RawData(
        modality=next(iter(modalities)),
        root=located.root,
        records=tuple(gathered.records),
        problems=tuple(gathered.problems),
        notes=tuple(notes),
        tables=tuple(named.path for named in located.tables),
        files=tuple(gathered.files),
    )


def _context(
    located: DataLocation, named: NamedTable, spec: DataSpec, rules: LabelRules, *, optional: bool
) -> _Context:
    table = read_table(named.path)
    by_name = named.split is not None
    roles = assign_roles(table, spec, needs_label=not optional, reads_split=not by_name)
    prefix = f"{named.path.name} " if len(located.tables) > 1 else ""
    cells = {row[roles.split].strip() for _, row in table.rows} if roles.split else set()
    meant, root, by = splits_of(sorted(cells)), located.root, spec.split_by
    context = _Context(root, table, roles, rules, named.split, by, prefix, optional, meant)
    _refuse_embedded(context)
    if roles.label is not None:
        labels = [row[roles.label].strip() for _, row in table.rows]
        rules.refuse_column(labels, roles.label, table.path)
    return context


def _add_row(
    into: _TableContents, context: _Context, number: int, cells: Mapping[str, str]
) -> None:
    roles = context.roles
    where = f"{context.table.path.name} row {number}"
    problems: list[str] = []
    content = cells[roles.content]
    path = None
    if not normalise(content):
        problems.append(f"empty {roles.content}")
    elif not all(map(_is_text, cells.values())):
        problems.append("half of a character (a surrogate alone)")
    elif roles.modality == "image":
        path = find_picture(context.table.path.parent, content.strip())
        into.files.append(path)
        problems.extend(_check_file(path, content.strip()))
    label = clean_label(cells[roles.label]) if roles.label else ""
    if not label:
        if context.labels_optional:
            into.unlabelled += 1
        else:
            problems.append(f"empty {roles.label}")
    elif why := context.rules.problem(label):
        problems.append(f"{roles.label} {label!r}, {why}")
    split = _split(context, cells, problems)
    if context.split_by is not None and not cells[context.split_by].strip():
        problems.append(f"empty {context.split_by}")
    key = f"{context.prefix}row {number}" if path is None else _key(path, context.root)
    if path is not None and not problems and key in into.first_row:
        problems.append(f"{key} stands in {into.first_row[key]} already")
    if problems:
        into.problems.extend(f"{where}: {problem}" for problem in problems)
        return
    into.first_row[key] = where
    text = content if path is None else None
    metadata = {name: cells[name] for name in roles.metadata}
    into.records.append(Record(key, where, path, text, label or None, split, metadata))


def _is_text(cell: str) -> bool:
    return cell.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in cell)


def find_picture(folder: Path, cell: str) -> Path:
    """The named file: relative to the table, else to the folder `images` beside it.

    A path of Windows is read as one of this system where there is no file of its very name.
    """
    for name in dict.fromkeys((cell, cell.replace("\\", "/"))):
        for candidate in (folder / name, folder / "images" / name):
            if candidate.is_file():
                return candidate
    return folder / cell


_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def _check_file(path: Path, cell: str) -> Sequence[str]:
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


def _split(context: _Context, cells: Mapping[str, str], problems: list[str]) -> Split | None:
    column = context.roles.split
    if column is None:
        return context.split
    value = cells[column].strip()
    if not value:
        problems.append(f"empty {column}")
    elif context.splits[value] is None:
        problems.append(f"unknown {column} {value!r} (known: train, val, test and the like)")
    return context.splits.get(value)


def _key(path: Path, root: Path) -> str:
    # normpath, so that "./a.png" and "a.png" are one picture; relpath, as a table may say "../".
    return PurePath(os.path.relpath(os.path.normpath(path), root)).as_posix()


def _refuse_embedded(context: _Context) -> None:
    column = context.roles.content
    first = next((row[column] for _, row in context.table.rows), "")
    if context.roles.modality == "image" and first.startswith("{"):
        raise DataError(
            f"the column {column} holds pictures, not names of files",
            where=str(context.table.path),
            expected="the path of a picture in each row",
            fix="save the pictures as files and name them in the table",
        )
