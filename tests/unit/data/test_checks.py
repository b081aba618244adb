"""All problems are told at once, each with its place."""

from __future__ import annotations

import pytest

from edgetransfer.data.checks import (
    absence_notes,
    class_problems,
    raise_if,
    unknown_label_problems,
)
from edgetransfer.data.reading import Record
from edgetransfer.errors import DataError


def records(*rows: str) -> tuple[Record, ...]:
    """Records from "split label number"; "-" is no split."""
    return tuple(
        Record(
            f"{row} {i}", f"row {n}.{i}", None, "", label, None if s == "-" else s, {}, f"{n}{i}"
        )
        for n, row in enumerate(rows)
        for s, label, number in [row.split()]
        for i in range(int(number))
    )


def test_one_error_for_all() -> None:
    with pytest.raises(DataError) as caught:
        raise_if([f"row {i}: bad" for i in range(22)], "a.csv")
    listed = "".join(f"  - row {i}: bad\n" for i in range(20))
    assert str(caught.value) == (
        f"a.csv: 22 problems in the data\n{listed}  and 2 more\n"
        "  fix: correct the data and start again"
    )
    raise_if([], "a.csv")


def test_one_problem() -> None:
    with pytest.raises(DataError) as caught:
        raise_if(["row 1: bad"], "a.csv")
    assert str(caught.value) == (
        "a.csv: 1 problem in the data\n  - row 1: bad\n  fix: correct the data and start again"
    )


def test_sound_classes() -> None:
    given = records("train a 2", "train b 2", "test a 1")
    assert class_problems(given, ()) == []
    assert class_problems(records("- a 4", "- b 4"), ("train", "validation", "test")) == []
    assert class_problems((), ()) == []


def test_small_classes() -> None:
    assert class_problems(records("train 10 1", "train 9 1", "train 8 2"), ()) == [
        "class '9': 1 different example for training, 2 needed (2 to fit on)",
        "class '10': 1 different example for training, 2 needed (2 to fit on)",
    ]
    carved = ("train", "validation")
    assert class_problems(records("train a 2", "train b 3"), carved) == [
        "class 'a': 2 different examples for training, 3 needed (2 to fit on and 1 for validation)"
    ]
    carved = ("train", "validation", "test")
    assert class_problems(records("- a 3", "- b 4"), carved) == [
        "class 'a': 3 different examples for training, 4 needed "
        "(2 to fit on and 1 for validation and 1 for test)"
    ]


def test_equal_contents_count_once() -> None:
    twins = tuple(Record(str(i), "", None, "", "a", "train", {}, "same") for i in range(5))
    assert class_problems(twins + records("train b 2"), ()) == [
        "class 'a': 1 different example for training, 2 needed (2 to fit on)"
    ]


def test_one_class() -> None:
    assert class_problems(records("train a 5"), ()) == [
        "only one class, 'a'; at least 2 are needed"
    ]


def test_classes_never_trained_on() -> None:
    data = records("train a 2", "train b 2", "test c 2", "validation d 1")
    assert class_problems(data, ()) == [
        "class 'c' has no training example, but 2 for test (first: row 2.0)",
        "class 'd' has no training example, but 1 for validation (first: row 3.0)",
    ]


def test_nothing_to_train_on() -> None:
    assert class_problems(records("test a 5"), ()) == ["no example is for training"]


def test_absent_classes_are_noted() -> None:
    labels = tuple("abcdefg")
    data = records("validation a 1", *(f"test {label} 1" for label in labels[1:]))
    assert absence_notes(data, labels) == [
        "no validation example of b, c, d, e, f and 1 more",
        "no test example of a",
    ]


def test_unknown_labels() -> None:
    data = records("test a 1", "test x 2")
    assert unknown_label_problems(data, ("a", "b")) == [
        "unknown label 'x' of 2 examples (first: row 1.0)"
    ]
