"""Whether classes are sound enough to fit, choose and judge on; and one error for all problems."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from edgetransfer.data.decode import brightest_of_16_bits
from edgetransfer.data.manifest import count, sort_labels
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from edgetransfer.data.manifest import Record, Split

MIN_TRAIN = 2
"""Examples of a class left to fit on; each split that is carved takes one more of the class."""
SHOWN = 20
Records = tuple["Record", ...]


def raise_if(problems: Sequence[str], where: str) -> None:
    """Raise one error for all problems.

    Raises:
        DataError: there are any; at most `SHOWN` are listed.
    """
    if not problems:
        return
    lines = [f"{count(len(problems), 'problem')} in the data"]
    lines += [f"  - {problem}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"  and {len(problems) - SHOWN:,} more")
    raise DataError("\n".join(lines), where=where, fix="correct the data and start again")


def class_problems(records: Records, carved: Collection[Split]) -> list[str]:
    """What keeps these classes from being learned.

    Equal contents count once, as they stay together when a split is carved. Nothing is carved where
    all splits were given.
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
    for label in sort_labels(contents):
        number = len(contents[label])
        if number < needed:
            problems.append(
                f"class {label!r}: {count(number, 'different example')} for training, "
                f"{needed} needed ({reason})"
            )
    return problems + [
        f"class {label!r} has no training example, but {number:,} for {first.split} "
        f"(first: {first.where})"
        for label, number, first in _outside(records, contents)
    ]


def _outside(records: Records, known: Collection[str]) -> Iterator[tuple[str, int, Record]]:
    """Yield each label that is not known, how many records have it, and the first that does."""
    found: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        if record.label is not None and record.label not in known:
            found[record.label].append(record)
    for label in sort_labels(found):
        yield label, len(found[label]), found[label][0]


def absence_notes(records: Records, labels: Sequence[str]) -> list[str]:
    """Which classes cannot be chosen or judged on; sound, but good to know."""
    notes = []
    for split in ("validation", "test"):
        present = {r.label for r in records if r.split == split}
        absent = [label for label in labels if label not in present]
        if absent:
            more = f" and {len(absent) - 5:,} more" if len(absent) > 5 else ""
            notes.append(f"no {split} example of {', '.join(absent[:5])}{more}")
    return notes


def spelling_notes(labels: Sequence[str]) -> list[str]:
    """Say which classes differ in nothing but case: they may be one."""
    same: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        same[label.casefold()].append(label)
    return [
        f"the classes {' and '.join(each)} differ in nothing but case: they are kept apart"
        for each in same.values()
        if len(each) > 1
    ][:SHOWN]


def unknown_label_problems(records: Records, labels: Sequence[str]) -> list[str]:
    """Labels of new data that a model does not know, with the first place of each."""
    return [
        f"unknown label {label!r} of {count(number, 'example')} (first: {first.where})"
        for label, number, first in _outside(records, set(labels))
    ]


_SHALLOW = 1 << 12
"""Values of a 16-bit picture below this leave 17 grey levels or fewer of 256."""


def depth_problems(records: Records) -> tuple[list[str], list[str]]:
    """Notice 16-bit grey pictures that use the lower part of their range only: they turn black.

    16 bits are scaled by 255 / 65535, for every picture alike and on the device too. What fills 10
    or 12 of the 16 bits must be scaled where it is saved, for what is right for one picture
    (its own maximum) is wrong for the next.

    Returns:
        Problems that stop a build, and notes.
    """
    number, brightest = brightest_of_16_bits([r.path for r in records if r.path is not None])
    if not number or brightest > 2 * _SHALLOW:
        return [], []
    levels = brightest * 255 // 65535 + 1
    told = (
        f"{count(number, '16-bit picture')} of which the brightest value is {brightest:,} of "
        f"65,535: {count(levels, 'grey level')} of 256 would be left"
    )
    if brightest < _SHALLOW:
        top = 1 << max(8, brightest.bit_length())
        return [
            f"{told}; save them with 8 bits, as value * 255 / {top - 1:,}, and on the device too"
        ], []
    return [], [told]
