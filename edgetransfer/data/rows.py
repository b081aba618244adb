"""Tables to records: the cells of each row put in their roles, the named files looked up."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from edgetransfer.data.digests import normalise
from edgetransfer.data.inputs import READERS
from edgetransfer.data.locate import DataLocation, NamedTable, splits_of
from edgetransfer.data.manifest import Example, RawData, Split, clean_label, count
from edgetransfer.data.tables import assign_roles, read_table
from edgetransfer.errors import DataError
from edgetransfer.spec.preprocess import INPUTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgetransfer.data.labels import LabelRules
    from edgetransfer.spec.preprocess import Modality
    from edgetransfer.spec.recipe import DataSpec


def read_tables(
    located: DataLocation, spec: DataSpec, rules: LabelRules, *, labels_optional: bool
) -> RawData:
    """Read all tables of a source."""
    reader = _TableReader(located, spec, rules, labels_optional=labels_optional)
    modalities = {reader.read(named): named.path.name for named in located.tables}
    if len(modalities) > 1:
        raise DataError(
            "one table is about pictures and another about texts",
            where=str(located.root),
            found=", ".join(
                f"{INPUTS[kind].noun}s in {name}" for kind, name in sorted(modalities.items())
            ),
        )
    notes = list(located.notes)
    if reader.blank:
        notes.append(f"{count(reader.blank, 'blank row')} left out")
    if reader.unlabelled:
        notes.append(f"{count(reader.unlabelled, 'row')} without a label")
    return RawData(
        modality=next(iter(modalities)),
        root=located.root,
        records=tuple(reader.records),
        problems=tuple(reader.problems),
        notes=tuple(notes),
        tables=tuple(named.path for named in located.tables),
        files=tuple(reader.files),
    )


class _TableReader:
    """Reads the tables of one source; what is found grows row by row."""

    def __init__(
        self, located: DataLocation, spec: DataSpec, rules: LabelRules, *, labels_optional: bool
    ) -> None:
        self._located, self._spec, self._rules = located, spec, rules
        self._labels_optional = labels_optional
        self.records: list[Example] = []
        self.problems: list[str] = []
        self.files: list[Path] = []
        self._first_row: dict[str, str] = {}
        self.unlabelled = self.blank = 0

    def read(self, named: NamedTable) -> Modality:
        """Read a table; return what it is about."""
        self._table = table = read_table(named.path)
        self._roles = roles = assign_roles(
            table,
            self._spec,
            needs_label=not self._labels_optional,
            reads_split=named.split is None,
        )
        first = next((row[roles.content] for _, row in table.rows), "")
        READERS[roles.modality].refuse_cell(first, roles.content, table.path)
        if roles.label is not None:
            labels = [row[roles.label].strip() for _, row in table.rows]
            self._rules.refuse_column(labels, roles.label, table.path)
        cells = {row[roles.split].strip() for _, row in table.rows} if roles.split else set()
        self._meant, self._split_of_all = splits_of(sorted(cells)), named.split
        self.problems.extend(table.problems)
        for number, row in table.rows:
            if any(cell.strip() for cell in row.values()):
                self._add(number, row)
            else:
                self.blank += 1
        return roles.modality

    def _add(self, number: int, cells: Mapping[str, str]) -> None:
        roles, table = self._roles, self._table.path
        where, content, path = f"{table.name} row {number}", cells[roles.content], None
        problems: list[str] = []
        if not normalise(content):
            problems.append(f"empty {roles.content}")
        elif not all(map(_is_text, cells.values())):
            problems.append("half of a character (a surrogate alone)")
        else:
            path, wrong = READERS[roles.modality].cell(table.parent, content)
            self.files.extend([] if path is None else [path])
            problems.extend(wrong)
        label = clean_label(cells[roles.label]) if roles.label else ""
        if not label:
            if self._labels_optional:
                self.unlabelled += 1
            else:
                problems.append(f"empty {roles.label}")
        elif why := self._rules.problem(label):
            problems.append(f"{roles.label} {label!r}, {why}")
        split = self._split(cells, problems)
        if self._spec.split_by is not None and not cells[self._spec.split_by].strip():
            problems.append(f"empty {self._spec.split_by}")
        key = where if len(self._located.tables) > 1 else f"row {number}"
        key = key if path is None else _key(path, self._located.root)
        if path is not None and not problems and key in self._first_row:
            problems.append(f"{key} stands in {self._first_row[key]} already")
        if problems:
            self.problems.extend(f"{where}: {problem}" for problem in problems)
            return
        self._first_row[key] = where
        text = content if path is None else None
        metadata = {name: cells[name] for name in roles.metadata}
        found = Example(key, path, text, label or None, split, metadata, where=where)
        self.records.append(found)

    def _split(self, cells: Mapping[str, str], problems: list[str]) -> Split | None:
        column = self._roles.split
        if column is None:
            return self._split_of_all
        value = cells[column].strip()
        if not value:
            problems.append(f"empty {column}")
        elif self._meant[value] is None:
            problems.append(f"unknown {column} {value!r} (known: train, val, test and the like)")
        return self._meant.get(value)


def _is_text(cell: str) -> bool:
    return cell.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in cell)


def _key(path: Path, root: Path) -> str:
    # normpath, so that "./a.png" and "a.png" are one picture; relpath, as a table may say "../".
    return PurePath(os.path.relpath(os.path.normpath(path), root)).as_posix()
