"""Which column of a table is the picture or text, the label, the split."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgetransfer.errors import DataError, SpecError

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Modality
    from edgetransfer.data.tables import Table
    from edgetransfer.spec.recipe import DataSpec

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

    Args:
        table: the table.
        spec: names given by the user, and the columns that must exist beside the roles.
        needs_label: whether a table without labels is an error.
        reads_split: False where the file's name already says the split.

    Raises:
        SpecError: a given column does not exist, or two were given where one can be.
        DataError: the convention finds no column, or more than one.
    """
    where = str(table.path)
    columns = table.columns
    modality, content = _content(table, spec)
    free = tuple(c for c in columns if c != content)
    label: str | None
    if spec.label_column is not None:
        label = _given(spec.label_column, "--label-column", columns, where)
        if label == content:
            raise SpecError(
                "one column cannot be both the example and its label", where=where, found=label
            )
    else:
        label = _by_convention(LABEL_COLUMNS, free, "--label-column", where)
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
    _require_metadata(spec, metadata, where)
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
    raise SpecError(
        f"{option} names a column that does not exist",
        where=where,
        found=name,
        expected=f"one of {', '.join(columns)}",
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


def _require_metadata(spec: DataSpec, metadata: tuple[str, ...], where: str) -> None:
    wanted = [("--group-by", name) for name in spec.group_by]
    if spec.split_by is not None:
        wanted.insert(0, ("--split-by", spec.split_by))
    for option, name in wanted:
        if name not in metadata:
            raise SpecError(
                f"{option} names a column that does not exist",
                where=where,
                found=name,
                expected=f"one of {', '.join(metadata)}"
                if metadata
                else "a table with columns beside the example, its label and its split",
            )


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
