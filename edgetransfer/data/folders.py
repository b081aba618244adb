"""A folder of pictures to records: one folder a label, with or without folders for splits."""

from __future__ import annotations

import itertools
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data import locate
from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.manifest import Example, RawData, Split, clean_label, count
from edgetransfer.errors import DataError, SpecError
from edgetransfer.spec.outside import some

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edgetransfer.data.labels import LabelRules
    from edgetransfer.data.locate import DataLocation
    from edgetransfer.spec.recipe import DataSpec


@dataclass
class _FolderContents:
    """What grows while folders are walked."""

    root: Path
    records: list[Example] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)  # that are no pictures, by extension
    leavings: Counter[str] = field(default_factory=Counter)  # of a system, by name
    unplaced: int = 0  # pictures that are in the folder of no label


Parts = dict["Split | None", list["Path"]]
"""The folders of labels in each split."""


def read_folder(
    located: DataLocation, spec: DataSpec, rules: LabelRules, *, labels_optional: bool
) -> RawData:
    """Read a folder of pictures.

    Folders for splits hold those for labels, or the reverse; both are known by the words in the
    names of splits (see `locate.splits_of`) and by what the folders hold. Every picture that is
    found is an example, or an error says why it is none; what else is left out is noted. DataError
    where there are no pictures, annotations for another task, folders that could be splits or
    labels, or two for one split; SpecError where the spec names columns.
    """
    _refuse_columns(spec, located.root)
    rules.refuse_folder(located.root)
    into = _FolderContents(located.root)
    notes = list(located.notes)
    top = _unwrapped(located.root)
    folders = folders_in(top)
    parts = _label_first(into, top, folders)
    by_split: dict[Split, Path] = {}
    if parts is not None:
        for split, named in parts.items():
            _add_labels(into, named, split, lambda folder: folder.parent)
    else:
        by_split = _split_folders(top, folders)
        if by_split:
            notes += _beside(top, [f for f in folders if f not in by_split.values()])
        for split, folder in by_split.items() or [(None, top)]:
            _add_labels_of(into, folder, split)
    if labels_optional and into.unplaced and not into.records:
        into.unplaced = 0
        for split, folder in by_split.items() or [(None, top)]:
            for path in (each for each in folder.iterdir() if not each.is_dir()):
                _add(into, path, None, split)
    if not into.records and (labels_optional or not into.problems):
        raise _nothing(located.root, into.unplaced)
    notes.extend(_left_out(into))
    records = tuple(sorted(into.records, key=lambda r: r.key))
    files = tuple(r.path for r in records if r.path is not None)
    # New data need not have every label, so there an empty folder is no problem.
    problems = () if labels_optional else tuple(into.problems)
    return RawData("image", located.root, records, problems, tuple(notes), (), files)


def _refuse_columns(spec: DataSpec, root: Path) -> None:
    given = spec.model_dump(exclude={"source"}, exclude_defaults=True)
    given |= {"group_by": ", ".join(spec.group_by)} if spec.group_by else {}
    named = [f"--{name.replace('_', '-')} {column}" for name, column in given.items()]
    if named:
        raise SpecError(
            "a folder of pictures has no columns",
            where=str(root),
            found=", ".join(named),
            fix="leave the option out, or describe the pictures in a table metadata.csv",
        )


def folders_in(folder: Path) -> list[Path]:
    """Return the folders in a folder, by name, without what a system leaves."""
    with os.scandir(folder) as entries:  # which knows what a folder is without looking at each
        found = [
            each.name for each in entries if each.is_dir() and not locate.is_leaving(each.name)
        ]
    return [folder / name for name in sorted(found)]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not locate.is_leaving(path.name)


def _holds_pictures(folder: Path) -> bool:
    return any(map(_is_picture, folder.iterdir()))


def _unwrapped(folder: Path) -> Path:
    """Go down while a folder holds nothing but one folder of folders, as unpacked archives do."""
    while not _holds_pictures(folder):
        inner = folders_in(folder)
        if len(inner) != 1 or not folders_in(inner[0]) or _holds_pictures(inner[0]):
            break
        folder = inner[0]
    return folder


def _label_first(into: _FolderContents, top: Path, folders: list[Path]) -> Parts | None:
    """Return labels' folders that lie in them by splits: ``cat/train``, ``cat/test``; or None."""
    inner = {folder: folders_in(folder) for folder in folders}
    names = {each.name for held in inner.values() for each in held}
    meant = locate.splits_of(names)
    if len({*meant.values()} - {None}) < 2 or None in meant.values():
        return None
    if all(locate.splits_of(folder.name for folder in folders).values()):
        return None
    parts: Parts = defaultdict(list)
    for folder, held in inner.items():
        loose = sum(map(_is_picture, folder.iterdir()))
        if loose:
            into.problems.append(
                f"{folder.name}: {count(loose, 'picture')} in none of the folders for splits, "
                f"which the classes hold here: {', '.join(sorted(names))}"
            )
        for each in held:
            if folders_in(each) and not _holds_pictures(each):
                raise DataError(
                    "folders for splits lie in several folders, and hold folders themselves",
                    where=str(top),
                    found=f"{folder.name}/{each.name}/{folders_in(each)[0].name}",
                    expected="one data set: train, val and test, with one folder a class in each",
                    fix=f"give one of them: {folder}",
                )
            parts[meant[each.name]].append(each)
    return parts


def _split_folders(top: Path, folders: list[Path]) -> dict[Split, Path]:
    """The folders for splits, if that is what they are.

    A folder "train" may also be a label, of vehicles. It is a split where it holds folders of its
    own and no pictures, or where every folder beside it is named like a split; and then all
    folders named like a split are splits. Other names that have such a word in them are splits
    where they hold folders and no pictures.
    """
    meant = locate.splits_of(folder.name for folder in folders)
    named = [
        f
        for f in folders
        if meant[f.name] and (f.name.lower() in locate.SPLIT_NAMES or _holds_folders(f))
    ]
    if len(named) < len(folders) and not any(map(_holds_folders, named)):
        _refuse_alike(top, folders)
        return {}
    by_split: dict[Split, Path] = {}
    for folder in named:
        split = meant[folder.name]
        assert split is not None  # by the choice above
        if split in by_split:
            raise DataError(
                f"two folders for the split {split}",
                where=str(top),
                found=f"{by_split[split].name} and {folder.name}",
                fix="put them together, or take one away",
            )
        by_split[split] = folder
    return by_split


def _holds_folders(folder: Path) -> bool:
    return bool(folders_in(folder)) and not _holds_pictures(folder)


def _refuse_alike(top: Path, folders: list[Path]) -> None:
    """Refuse folders that all hold the same folders: splits of unknown names, or labels."""
    held = [{clean_label(each.name).casefold() for each in folders_in(f)} for f in folders]
    if len(folders) < 2 or not all(map(_holds_folders, folders)):
        return
    common = set.intersection(*held)
    if len(common) < 2 or 2 * len(common) < len(set.union(*held)):
        return
    raise DataError(
        "folders that could be splits or classes",
        where=str(top),
        found=f"{some([f.name for f in folders])} each hold {some(sorted(common))}",
        expected="folders for splits with train, val or test in their names, or folders of classes",
        fix="rename the folders for splits, or put the pictures of a class into one folder",
    )


def _beside(top: Path, rest: list[Path]) -> list[str]:
    """Say what lies beside folders for splits; pictures there must not be left out in silence."""
    filled = [folder.name for folder in rest if any(pictures_below(folder))]
    if filled:
        raise DataError(
            "pictures beside the folders for splits, in none of them",
            where=str(top),
            found=some(filled),
            expected="folders with train, val or test in their names, with one folder a class",
            fix="rename the folder, or move it to another place",
        )
    return [f"left out beside the folders for splits: {some([f.name for f in rest])}"] * bool(rest)


def _add_labels_of(into: _FolderContents, parent: Path, split: Split | None) -> None:
    parent = _unwrapped(parent)
    unplaced = sum(_is_picture(p) for p in parent.iterdir())
    into.unplaced += unplaced
    folders = folders_in(parent)
    into.leavings.update(p.name for p in parent.iterdir() if locate.is_leaving(p.name))
    if split is not None and not folders:
        found = f"{count(unplaced, 'picture')} but " if unplaced else ""
        into.problems.append(f"{parent.name}: {found}no folder of a class")
    _add_labels(into, folders, split, lambda folder: folder)


def _add_labels(
    into: _FolderContents, given: list[Path], split: Split | None, named: Callable[[Path], Path]
) -> None:
    """Add the pictures of folders, of which each has the name that `named` gives."""
    folders_of = defaultdict(list)
    for folder in given:
        folders_of[clean_label(named(folder).name)].append(folder)
    for label, folders in folders_of.items():
        before, others = len(into.records), into.others.copy()
        for folder in folders:
            for path in files_below(folder, into.leavings):
                _add(into, path, label, split)
        if len(into.records) == before:
            name = folders[0].relative_to(into.root).as_posix()
            told = locate.suffixes_told(into.others - others)
            more = f" that can be read, but {told}" if told else ""
            into.problems.append(f"{name}: the folder holds no picture{more}")


def _add(into: _FolderContents, path: Path, label: str | None, split: Split | None) -> None:
    key = path.relative_to(into.root).as_posix()
    if locate.is_leaving(path.name):
        into.leavings[path.name] += 1
    elif not _is_picture(path):
        into.others[path.suffix.lower()] += 1
    elif not path.is_file():
        # A pipe or a device would be waited for without end.
        what = "a link to nothing" if path.is_symlink() and not path.exists() else "no regular file"
        into.problems.append(f"{key}: {what}")
    else:
        into.records.append(Example(key, path, None, label, split, {}, where=key))


def pictures_below(folder: Path) -> Iterator[Path]:
    """All pictures in a folder and the folders in it, whatever those are called."""
    return filter(_is_picture, files_below(folder))


def unread_below(folder: Path) -> str | None:
    """Say how many files are pictures that are not read; None where there is none."""
    suffixes = (p.suffix.lower() for p in files_below(folder) if not locate.is_leaving(p.name))
    counted = Counter(suffix for suffix in suffixes if suffix in locate.OTHER_PICTURES)
    number, told = count(counted.total(), "picture"), locate.suffixes_told(counted)
    return f"{number} left out that cannot be read: {told}" if counted else None


def files_below(folder: Path, leavings: Counter[str] | None = None) -> Iterator[Path]:
    """All files below a folder; links are followed (subsets are made of them), circles are not.

    Nor is a link to a folder above: it would bring in the pictures of other labels.
    """
    seen = set(folder.resolve().parents)
    for parent, names, files in os.walk(folder, followlinks=True):
        real = Path(parent).resolve()
        if real in seen:
            names.clear()
            continue
        seen.add(real)
        if leavings is not None:
            leavings.update(name for name in names if locate.is_leaving(name))
        names[:] = [name for name in names if not locate.is_leaving(name)]
        yield from (Path(parent, name) for name in files)


def _left_out(into: _FolderContents) -> list[str]:
    notes = []
    if into.leavings:
        names = sorted({each for each in into.leavings if len(each) < 30})
        number, told = into.leavings.total(), some(names)
        what = "hidden or left by a system" + (f" ({told})" if told else "")
        notes.append(f"{count(number, 'file or folder', 'files and folders')} left out: {what}")
    if into.others:
        notes.append(
            f"{count(into.others.total(), 'file')} left out, no picture that is read by the "
            f"extension: {locate.suffixes_told(into.others)}"
        )
    if into.unplaced:
        notes.append(f"{count(into.unplaced, 'picture')} left out: not in the folder of a class")
    return notes


def _nothing(root: Path, unplaced: int) -> DataError:
    files = itertools.islice(files_below(root), 100_000)
    suffixes = Counter(p.suffix.lower() for p in files if not locate.is_leaving(p.name))
    kind = locate.kind_of(suffixes) if not unplaced else None
    found = f"{count(unplaced, 'picture')} without class" if unplaced else "no picture, no table"
    if not unplaced and suffixes:
        found += f", but {locate.suffixes_told(suffixes)}"
    return DataError(
        kind[0] if kind else "no labelled examples in the folder",
        where=str(root),
        found=found,
        expected="one folder a class with pictures in it, or train, val and test with those, "
        "or a table metadata.csv",
        fix=kind[1] if kind else None,
    )
