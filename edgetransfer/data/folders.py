"""A folder of pictures to records: one folder a class, with or without folders for splits.

It does not open the pictures.
"""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.reading import SPLIT_NAMES, Reading, Record, clean_label, count
from edgetransfer.errors import DataError, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgetransfer.data.locate import Located
    from edgetransfer.data.manifest import Split
    from edgetransfer.spec.recipe import DataSpec


@dataclass
class _Gathered:
    """What grows while folders are walked."""

    root: Path
    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: int = 0
    unplaced: int = 0


def read_folder(located: Located, spec: DataSpec, *, labels_optional: bool) -> Reading:
    """Read a folder of pictures.

    Args:
        located: the folder.
        spec: must not name columns.
        labels_optional: accept pictures without a class folder, if there is no class folder.

    Raises:
        DataError: no pictures, or two folders for one split.
        SpecError: the spec names columns.
    """
    _refuse_columns(spec, located.root)
    into = _Gathered(located.root)
    notes = list(located.notes)
    folders = _folders(located.root)
    by_split = _split_folders(located.root, folders)
    if by_split:
        rest = [f.name for f in folders if f not in by_split.values()]
        if rest:
            notes.append(f"left out beside the folders for splits: {', '.join(rest)}")
        for split, folder in by_split.items():
            _add_classes(into, folder, split, _folders(folder))
    else:
        _add_classes(into, located.root, None, folders)
    if labels_optional and into.unplaced and not into.records:
        _add_flat(into, [*by_split.items()] or [(None, located.root)])
    if not into.records and (labels_optional or not into.problems):
        raise _nothing(located.root, into.unplaced)
    notes.extend(_left_out(into))
    records = tuple(sorted(into.records, key=lambda r: r.key))
    files = tuple(r.path for r in records if r.path is not None)
    # New data need not have every class, so there an empty folder is no problem.
    problems = () if labels_optional else tuple(into.problems)
    return Reading("image", located.root, records, problems, tuple(notes), (), files)


def _refuse_columns(spec: DataSpec, root: Path) -> None:
    given = {
        "--label-column": spec.label_column,
        "--text-column": spec.text_column,
        "--file-column": spec.file_column,
        "--split-by": spec.split_by,
        "--group-by": ", ".join(spec.group_by) or None,
    }
    named = [f"{option} {column}" for option, column in given.items() if column is not None]
    if named:
        raise SpecError(
            "a folder of pictures has no columns",
            where=str(root),
            found=", ".join(named),
            fix="leave the option out, or describe the pictures in a table metadata.csv",
        )


def _folders(folder: Path) -> list[Path]:
    found = [p for p in folder.iterdir() if p.is_dir() and not _hidden(p.name)]
    return sorted(found, key=lambda p: p.name)


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not _hidden(path.name)


def _split_folders(root: Path, folders: list[Path]) -> dict[Split, Path]:
    """The folders for splits, if that is what they are.

    A folder "train" may also be a class, of vehicles. It is a split where it holds folders of its
    own and no pictures, or where every folder beside it is named like a split; and then all
    folders named like a split are splits.
    """
    named = [f for f in folders if f.name.lower() in SPLIT_NAMES]
    if len(named) < len(folders) and not any(map(_holds_classes, named)):
        return {}
    by_split: dict[Split, Path] = {}
    for folder in named:
        split = SPLIT_NAMES[folder.name.lower()]
        if split in by_split:
            raise DataError(
                f"two folders for the split {split}",
                where=str(root),
                found=f"{by_split[split].name} and {folder.name}",
                fix="put them together, or take one away",
            )
        by_split[split] = folder
    return by_split


def _holds_classes(folder: Path) -> bool:
    return bool(_folders(folder)) and not any(map(_is_picture, folder.iterdir()))


def _add_classes(into: _Gathered, parent: Path, split: Split | None, classes: list[Path]) -> None:
    unplaced = sum(_is_picture(p) for p in parent.iterdir())
    into.unplaced += unplaced
    if split is not None and not classes:
        found = f"{count(unplaced, 'picture')} but " if unplaced else ""
        into.problems.append(f"{parent.name}: {found}no folder of a class")
    folders_of = defaultdict(list)
    for folder in classes:
        folders_of[clean_label(folder.name)].append(folder)
    for label, folders in folders_of.items():
        before = len(into.records)
        for folder in folders:
            for path in _walk(folder):
                _add(into, path, label, split)
        if len(into.records) == before:
            name = folders[0].relative_to(into.root).as_posix()
            into.problems.append(f"{name}: the folder holds no picture")


def _add_flat(into: _Gathered, parents: list[tuple[Split | None, Path]]) -> None:
    into.unplaced = 0
    for split, parent in parents:
        for path in parent.iterdir():
            if path.is_file():
                _add(into, path, None, split)


def _add(into: _Gathered, path: Path, label: str | None, split: Split | None) -> None:
    if not _is_picture(path):
        into.others += 1
        return
    key = path.relative_to(into.root).as_posix()
    into.records.append(Record(key, key, path, None, label, split, {}))


def pictures_below(folder: Path) -> Iterator[Path]:
    """All pictures in a folder and the folders in it, whatever those are called."""
    return (path for path in _walk(folder) if _is_picture(path))


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder; links are followed (subsets are made of them), circles are not.

    Nor is a link to a folder above: it would bring in the pictures of the other classes.
    """
    seen = set(folder.resolve().parents)
    for parent, names, files in os.walk(folder, followlinks=True):
        real = Path(parent).resolve()
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        names[:] = [name for name in names if not _hidden(name)]
        yield from (Path(parent, name) for name in files)


def _left_out(into: _Gathered) -> list[str]:
    notes = []
    if into.others:
        notes.append(f"{count(into.others, 'file')} left out: hidden, or no picture by extension")
    if into.unplaced:
        notes.append(f"{count(into.unplaced, 'picture')} left out: not in the folder of a class")
    return notes


def _nothing(root: Path, unplaced: int) -> DataError:
    found = f"{count(unplaced, 'picture')} without class" if unplaced else "no picture, no table"
    return DataError(
        "no labelled examples in the folder",
        where=str(root),
        found=found,
        expected="one folder a class with pictures in it, or train, val and test with those, "
        "or a table metadata.csv",
    )
