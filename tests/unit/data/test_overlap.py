"""Duplicates leave the splits that are fitted or chosen on, never the test set."""

from __future__ import annotations

from edgetransfer.data.digests import drop_duplicates, repeat_notes
from edgetransfer.data.manifest import Example


def records(*rows: str) -> tuple[Example, ...]:
    """Records from "split digest label"; they are named by their place."""
    parts = [row.split() for row in rows]
    return tuple(
        Example(
            *(f"{i}", None, "", label, None if split == "-" else split, {}, digest),
            where=f"row {i}",
        )
        for i, (split, digest, label) in enumerate(parts)
    )


def test_what_is_judged_on_later_stays() -> None:
    data = records(
        "train A x", "train A x", "train B x", "train C x", "train D x",
        "validation B x", "validation C x", "validation E x",
        "test A x", "test A x", "test C x",
    )  # fmt: skip
    kept, dropped, notes = drop_duplicates(data)
    assert [r.key for r in kept] == ["4", "5", "7", "8", "9", "10"]
    assert dropped == {
        "duplicate of a test example": 4,
        "duplicate of a validation example": 1,
    }
    assert notes == [
        "1 of 3 test examples also stands in validation: 1 validation example that repeats one "
        "was dropped, test is unaltered",
        "3 of 3 test examples also stand in train: 3 train examples that repeat them were "
        "dropped, test is unaltered",
        "1 of 2 validation examples also stands in train: 1 train example that repeats one was "
        "dropped, validation is unaltered",
    ]


def test_without_splits_nothing_is_dropped() -> None:
    data = records("- A x", "- A x")
    assert drop_duplicates(data) == (data, {}, [])
    assert repeat_notes(data) == []


def test_repeats_within_a_split_stay_and_are_told() -> None:
    data = records("train A x", "train A x", "train A x", "test B x", "test B x")
    assert drop_duplicates(data)[0] == data
    assert repeat_notes(data) == [
        "2 train examples repeat another; they stay",
        "1 test example repeats another; it stays",
    ]


def test_contradictions_in_train_are_shown() -> None:
    data = records(*(f"train {d} {label}" for label in "xy" for d in "ABCD"), "train A x")
    assert repeat_notes(data) == [
        "5 train examples repeat another; they stay",
        "4 contents in train with more than one label: row 0 (x) and row 4 (y); "
        "row 1 (x) and row 5 (y); row 2 (x) and row 6 (y); and 1 more",
    ]
