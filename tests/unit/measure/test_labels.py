"""What is said of labels, of more labels, and of examples that nearly repeat."""

import pytest

from edgetransfer.tasks.classification.study import told_labels, told_near

GAIN = {"gain_pp": 2.0, "ci95_pp": [-1.0, 3.0]}


def curve(**changes):
    gains = [{"examples": size, **GAIN} for size in (150, 210, 400)]
    return {"now": 100, "falls": True, "gains": gains, "classes": [], **changes}


@pytest.mark.parametrize(
    ("suspect", "line"),
    [
        (0, "none of 9 labels look wrong"),
        (1, "1 of 9 labels looks wrong"),
        (2, "2 of 9 labels look wrong"),
    ],
)
def test_suspects(suspect, line):
    assert told_labels({"judged": 9, "suspect": suspect}) == [line]


def test_the_gain_nearest_to_twice_the_examples_is_told():
    lines = told_labels({"judged": 9, "suspect": 2, "curve": curve()})
    assert lines[1:] == ["about 110 more labels should give +2.0 points of accuracy (-1.0 to 3.0)"]


def test_a_curve_that_does_not_surely_fall_gives_no_forecast():
    row = {"label": "ants", "more": 50, **GAIN}
    lines = told_labels({"judged": 9, "suspect": 2, "curve": curve(falls=False, classes=[row])})
    assert lines[1:] == ["about 110 more labels: the curve cannot tell, +2.0 points (-1.0 to 3.0)"]


def test_a_curve_without_gains_says_nothing():
    assert len(told_labels({"judged": 9, "suspect": 2, "curve": curve(gains=[])})) == 1


@pytest.mark.parametrize(
    ("pairs", "across", "contrary", "tested", "line"),
    [
        (0, 0, 0, 0, "none of 1,200 compared examples nearly repeats another"),
        (1, 0, 0, 0, "1 pair is nearly the same"),
        (2, 1, 0, 0, "2 pairs are nearly the same, 1 across splits"),
        (2, 0, 2, 0, "2 pairs are nearly the same, 2 under two labels"),
        (
            3,
            3,
            0,
            1,
            "3 pairs are nearly the same, 3 across splits; 1 test example may raise the score",
        ),
    ],
)
def test_near_duplicates(pairs, across, contrary, tested, line):
    counts = {"pairs": pairs, "across": across, "contrary": contrary, "test_examples": tested}
    block = {"compared": 1200, **counts}
    assert told_near(block) == line
    assert told_labels({"judged": 9, "suspect": 2, "near_duplicates": block})[1] == line
