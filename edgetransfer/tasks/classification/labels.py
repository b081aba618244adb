"""Labels that are classes: which data hold such, and whether they can be fitted and judged by."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.folders import files_below, folders_in
from edgetransfer.data.labels import LabelRules
from edgetransfer.data.manifest import Example, Manifest, Split, count
from edgetransfer.errors import DataError, SpecError
from edgetransfer.spec.outside import some

if TYPE_CHECKING:
    from edgetransfer.spec.budget import Budget

MIN_TRAIN = 2
"""Examples of a class left to fit on; each split that is carved takes one more of the class."""
SHOWN = 20


class ClassLabels(LabelRules):
    """A label is the name of a class, which several examples share."""

    def strata(self, labels: Sequence[str]) -> Sequence[str]:
        """Return the classes themselves."""
        return labels

    def truth(self, manifest: Manifest, examples: Iterable[Example]) -> NDArray[Any]:
        """Return the places of the examples' classes, int64 [N]."""
        return manifest.label_index(examples)

    def refuse_folder(self, root: Path) -> None:
        """Notice annotations for detection, whose folders are no classes."""
        near = [root, *folders_in(root)]
        near += [inner for folder in near[1:] for inner in folders_in(folder)]
        for folder in near:
            kind = _annotations(folder)
            if kind is not None:
                raise DataError(
                    "annotations for object detection, which is not supported yet",
                    where=str(folder),
                    found=kind,
                    expected="one class for each whole picture: one folder a class",
                    fix="cut the objects out into pictures of their own, in one folder a class",
                )

    def refuse_column(self, cells: Sequence[str], column: str, table: Path) -> None:
        """Numbers with fractions that hardly repeat are measurements, and lists are not classes."""
        labels = Counter(cell for cell in cells if cell)
        numbers = len(labels) * 2 > len(cells) and all(_is_number(label) for label in labels)
        several = _several(labels)
        if numbers and not all(label.lstrip("+-").isdigit() for label in labels):
            found = f"{count(len(labels), 'different number')} in {count(len(cells), 'row')}"
        elif labels and all(map(_is_list, labels)):
            found = f"lists such as {next(iter(labels))[:60]}"
        elif several is not None:
            found = f"several labels in one cell, such as {several[:60]}"
        else:
            return
        raise DataError(
            f"the column {column} does not hold classes",
            where=str(table),
            found=found,
            expected="one of a few class names in each row",
            fix="this software fits classifiers only: no regression, detection or several labels",
        )

    def problem(self, label: str) -> str:
        """Notice what stands for no label."""
        if label not in _MISSING:
            return ""
        return "which stands for a missing one; leave the row out, or give the class another name"

    def names(self, labels: Iterable[str]) -> tuple[str, ...]:
        """Sort classes without repeats: as numbers where all are integers, else as strings.

        >>> CLASSES.names(["10", "9", "9"]), CLASSES.names(["10", "9", "b"])
        (('9', '10'), ('10', '9', 'b'))
        """
        distinct = sorted(set(labels))
        if all(re.fullmatch(r"[+-]?[0-9]+", label) for label in distinct):
            distinct.sort(key=int)
        return tuple(distinct)

    def known(self, label: str, names: Sequence[str]) -> bool:
        """Tell whether it is one of the classes."""
        return label in names

    def recognised(self, manifest: Manifest, names: tuple[str, ...], where: str) -> Manifest:
        """Spell classes as the model does, and refuse others.

        A Mac may write the e with an accent of a folder's name as two characters.
        """
        composed = {unicodedata.normalize("NFC", each): each for each in names}
        spelled = {
            each: composed.get(unicodedata.normalize("NFC", each), each) for each in manifest.labels
        }
        unknown = sorted(set(spelled.values()) - set(names))
        if unknown:
            raise DataError(
                "the data has classes that the model does not know",
                where=where,
                found=", ".join(unknown[:10]),
                expected=_first(names),
            )
        examples = tuple(
            each if each.label is None else replace(each, label=spelled[each.label])
            for each in manifest.examples
        )
        return replace(manifest, examples=examples, labels=names)

    def problems(self, records: Sequence[Example], carved: Collection[Split]) -> list[str]:
        """Say what keeps these classes from being learned.

        Equal contents count once, as they stay together when a split is carved.
        """
        pool = [r for r in records if r.split in {"train", None}]
        if not pool:
            return [] if not records else ["no example is for training"]
        contents: dict[str, set[str]] = defaultdict(set)
        for record in pool:
            contents[record.label or ""].add(record.digest)
        problems = []
        if len(contents) < 2:
            problems.append(f"only one class, {next(iter(contents))!r}; at least 2 are needed")
        needed = MIN_TRAIN + max(0, len(carved) - 1)
        reason = f"{MIN_TRAIN} to fit on"
        reason += "".join(f" and 1 for {split}" for split in carved if split != "train")
        for label in self.names(contents):
            number = len(contents[label])
            if number < needed:
                problems.append(
                    f"class {label!r}: {count(number, 'different example')} for training, "
                    f"{needed} needed ({reason})"
                )
        untrained: dict[str, list[Example]] = defaultdict(list)
        for record in records:
            if record.label is not None and record.label not in contents:
                untrained[record.label].append(record)
        return problems + [
            f"class {label!r} has no training example, but {len(untrained[label]):,} for "
            f"{untrained[label][0].split} (first: {untrained[label][0].where})"
            for label in self.names(untrained)
        ]

    def notes(self, records: Sequence[Example], names: Sequence[str]) -> list[str]:
        """Say which classes cannot be chosen or judged on, and which may be one."""
        notes = []
        for part in ("validation", "test"):
            present = {r.label for r in records if r.split == part}
            absent = [label for label in names if label not in present]
            if absent:
                notes.append(f"no {part} example of {some(absent)}")
        same: dict[str, list[str]] = defaultdict(list)
        for label in names:
            same[label.casefold()].append(label)
        alike = [" and ".join(each) for each in same.values() if len(each) > 1]
        told = "differ in nothing but case: they are kept apart"
        return notes + [f"the classes {each} {told}" for each in alike[:SHOWN]]

    def told(self, names: Sequence[str]) -> str:
        """Say how many classes there are."""
        return f"{len(names)} classes"

    def refuse_limits(self, budget: Budget, names: Sequence[str]) -> None:
        """Refuse floors of classes that there are not."""
        unknown = [label for label in budget.min_recall if label not in names]
        if unknown:
            raise SpecError(
                "no such class",
                where="--min-recall",
                found=", ".join(unknown[:5]),
                expected=_first(names),
            )


CLASSES = ClassLabels()


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")


_MISSING = {
    *("nan", "NaN", "NAN", "-nan", "-NaN", "NA", "N/A", "n/a", "#N/A", "#N/A N/A", "#NA", "<NA>"),
    *("NaT", "NULL", "null", "None", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NULL!", "#NUM!"),
}
"""What pandas and spreadsheets write for a cell that holds nothing, or could not be computed."""


def _several(labels: Counter[str]) -> str | None:
    """Return a label that joins several, whose parts are labels too or stand in others."""
    for separator in (";", "|", ","):
        joined = {
            label: {part.strip() for part in label.split(separator)}
            for label in labels
            if separator in label
        }
        parts = Counter(part for each in joined.values() for part in each if part)
        if not parts:
            continue
        alone = sum(part in labels for part in parts)
        # Of commas this alone says it: "Paris, Texas" and "Austin, Texas" share a part.
        if 2 * alone >= len(parts) or (separator != "," and max(parts.values()) > 1):
            return next(iter(joined))
    return None


def _is_list(label: str) -> bool:
    if not label.startswith(("[", "{")):
        return False
    try:
        return isinstance(json.loads(label.replace("'", '"')), list | dict)
    except ValueError:
        return False  # a class whose name stands in brackets


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", "."))  # as spreadsheets in much of Europe write them
    except ValueError:
        return False
    return True


def _annotations(folder: Path) -> str | None:
    if folder.name.lower() == "labels" and (folder.parent / "images").is_dir():
        inner = [p for p in itertools.islice(files_below(folder), 1000) if p.suffix == ".txt"]
        return "a folder labels beside a folder images, with .txt files (YOLO)" if inner else None
    names = [each.name for each in folder.iterdir()]
    if folder.name.lower() == "annotations" and any(name.endswith(".xml") for name in names):
        return "a folder Annotations with .xml files (Pascal VOC)"
    coco = sorted(n for n in names if n.endswith(".json") and ("coco" in n or "instances_" in n))
    if coco:
        return f"{coco[0]} (COCO)"
    stems = [Path(n).stem for n in names if Path(n).suffix.lower() in PICTURE_SUFFIXES][:20]
    beside = set(names)
    for suffix, kind in ((".xml", "Pascal VOC"), (".txt", "YOLO")):
        twins = sum(f"{stem}{suffix}" in beside for stem in stems)
        if twins * 2 > len(stems) and (suffix == ".xml" or "classes.txt" in beside):
            return f"a {suffix} file beside each picture ({kind})"
    return None
