"""Labels that look wrong, what nearly repeats, and the curve, as rows of the page."""

import pytest

from edgetransfer.report.node import Node
from edgetransfer.tasks.classification.report.checks import LABELLING

SUSPECT = {
    "example": "train/a/1.png", "split": "train", "given": "a", "likely": "b",
    "given_probability": 0.02, "likely_probability": 0.95,
}  # fmt: skip
PAIR = {
    "example": "train/a/2.png", "split": "train", "label": "a",
    "other": "test/b/3.png", "other_split": "test", "other_label": "b", "nearness": 0.1,
}  # fmt: skip
NEAR = {
    "compared": 90, "examples": 90, "pairs": 3, "across": 1, "contrary": 1, "test_examples": 1,
    "listed": [PAIR],
}  # fmt: skip


def shown(**changes):
    block = {"judged": 60, "suspect": 2, "suspects": [SUSPECT], **changes}
    return LABELLING.values(Node({"labelling": block}), Node({}))


def test_a_report_without_the_block_shows_nothing():
    assert LABELLING.values(Node({}), Node({})) is None


def test_suspects_and_how_many_are_not_listed():
    found = shown()
    assert (found["rest"], found["curve"], found["near"]) == (1, [], [])
    (row,) = found["suspects"]
    assert row == ["train/a/1.png", "a", "b", "95.0\u00a0% against 2.0\u00a0%"]
    assert found["told"] == ["2 of 60 labels look wrong."]


def test_pairs_are_named_with_split_and_label():
    found = shown(near_duplicates=NEAR)
    assert found["near"] == [["train/a/2.png (train, a)", "test/b/3.png (test, b)"]]
    assert found["near_rest"] == 2
    assert found["told"][1] == (
        "3 pairs are nearly the same, 1 across splits, 1 under two labels; 1 test example may "
        "raise the score."
    )


def test_where_nothing_repeats_there_is_no_table():
    assert shown(near_duplicates={**NEAR, "pairs": 0, "listed": []})["near"] == []


@pytest.mark.parametrize("gain", [2.0, 30.0])
def test_what_is_expected_stands_below_what_was_measured_and_is_no_negative_error(gain):
    gains = [{"examples": 80, "gain_pp": gain, "ci95_pp": [0.0, gain + 1]}]
    curve = {
        "judged": 60, "now": 40, "sizes": [4, 40], "error": [0.5, 0.2], "falls": True,
        "gains": gains, "classes": [],
    }  # fmt: skip
    examples, _, errors = zip(*shown(curve=curve)["curve"], strict=True)
    assert examples == ("4", "40", "80")
    told = [error.replace("\u00a0", " ").partition("<br>")[0] for error in errors]
    assert told == ["50.0 %", "20.0 %", f"{max(20 - gain, 0):.1f} %"]
    assert ["expected: " in error for error in errors] == [False, False, True]
