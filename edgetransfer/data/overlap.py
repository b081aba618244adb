"""Examples that stand more than once: found by digest, taken out where they would flatter.

It never takes anything out of the test set. What is nearly the same stays; it is listed later.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from edgetransfer.data.reading import count

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgetransfer.data.manifest import Split
    from edgetransfer.data.reading import Record

Records = tuple["Record", ...]

OF_TEST = "duplicate of a test example"
OF_VALIDATION = "duplicate of a validation example"

_SHOWN = 3


def drop_duplicates(records: Records) -> tuple[Records, Counter[str], list[str]]:
    """Take out what stands in a split that is judged on later.

    A duplicate of a test example leaves train and validation; one of a validation example leaves
    train. Records without a split are not touched.

    Returns:
        The kept records, how many went by reason, and a note for each pair of splits.
    """
    dropped: Counter[str] = Counter()
    notes: list[str] = []
    kept = records
    steps: list[tuple[Split, Split, str]] = [
        ("validation", "test", OF_TEST),
        ("train", "test", OF_TEST),
        ("train", "validation", OF_VALIDATION),
    ]
    for loser, keeper, reason in steps:
        kept, gone, note = _drop(kept, loser, keeper)
        if gone:
            dropped[reason] += gone
            notes.append(note)
    return kept, dropped, notes


def _drop(records: Records, loser: Split, keeper: Split) -> tuple[Records, int, str]:
    keepers = [r.digest for r in records if r.split == keeper]
    held = set(keepers)
    losers = {r.digest for r in records if r.split == loser}
    kept = tuple(r for r in records if r.split != loser or r.digest not in held)
    gone = len(records) - len(kept)
    shared = sum(digest in losers for digest in keepers)
    stand = "stands" if shared == 1 else "stand"
    repeat = "that repeats one was" if gone == 1 else "that repeat them were"
    note = (
        f"{shared:,} of {count(len(keepers), f'{keeper} example')} also {stand} in {loser}: "
        f"{count(gone, f'{loser} example')} {repeat} dropped, {keeper} is unaltered"
    )
    return kept, gone, note


def repeat_notes(records: Iterable[Record]) -> list[str]:
    """Say how many examples repeat one of their own split, and which in train contradict it."""
    notes = []
    by_split: dict[Split, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.split is not None:
            by_split[record.split][record.digest].append(record)
    for split, groups in by_split.items():
        repeats = sum(len(group) - 1 for group in groups.values())
        if repeats:
            verb = "repeats another; it stays" if repeats == 1 else "repeat another; they stay"
            notes.append(f"{count(repeats, f'{split} example')} {verb}")
    contrary = [g for g in by_split["train"].values() if len({r.label for r in g}) > 1]
    if contrary:
        notes.append(_contrary_note(contrary))
    return notes


def _contrary_note(groups: list[list[Record]]) -> str:
    shown = []
    for group in groups[:_SHOWN]:
        first: dict[str | None, str] = {}
        for record in group:
            first.setdefault(record.label, record.where)
        shown.append(" and ".join(f"{where} ({label})" for label, where in first.items()))
    more = f"; and {len(groups) - _SHOWN:,} more" if len(groups) > _SHOWN else ""
    return (
        f"{count(len(groups), 'content')} in train with more than one label: "
        f"{'; '.join(shown)}{more}"
    )
