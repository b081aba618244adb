"""Labelled examples of the device are set aside, and too few others are refused."""

import pytest

from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.errors import DataError
from edgetransfer.tasks.classification.fit.adapt import set_aside


def example(number, label, split, site):
    return Example(str(number), None, "t", label, split, {"site": site}, str(number))


def manifest(*rows):
    return Manifest("text", tuple(example(i, *row) for i, row in enumerate(rows)), ("a", "b"), "/")


BOTH = (
    ("a", "train", "lab"), ("b", "train", "lab"), ("a", "validation", "lab"),
    ("a", "train", "roof"), ("b", "validation", "roof"), ("b", "test", "roof"),
)  # fmt: skip


def test_the_test_set_stays_whole_and_is_not_judged_on():
    parts = set_aside(manifest(*BOTH), "site=roof")
    assert [each.key for each in parts.device] == ["3", "4"]
    assert [each.key for each in parts.manifest.examples] == ["0", "1", "2", "5"]
    assert parts.manifest.notes == ("2 labelled examples of the device (site=roof) were set aside",)
    assert not parts.tested
    judged = parts.all_judged().split("validation")
    assert {each.key for each in judged} == {"2", "3", "4"}


def test_a_device_that_is_only_in_the_test_set():
    parts = set_aside(manifest(*BOTH[:3], BOTH[5]), "site=roof")
    assert ([each.key for each in parts.device], parts.tested) == (["3"], True)
    assert parts.manifest.notes == ()


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        (BOTH[1:], "no example to train on of a"),
        ((*BOTH[:2], *BOTH[3:]), "no validation example"),
    ],
)
def test_too_few_are_left(rows, found):
    with pytest.raises(DataError) as caught:
        set_aside(manifest(*rows), "site=roof")
    assert str(caught.value) == (
        "--device-part site=roof: too few examples are left without the device's\n"
        f"  found: {found}\n"
        "  fix: give more examples that are not the device's"
    )


def test_a_column_that_is_not_there():
    with pytest.raises(DataError) as caught:
        set_aside(manifest(*BOTH), "place=roof")
    assert str(caught.value) == (
        "--device-part place=roof: no example is of that part\n"
        "  found: columns site\n"
        "  expected: a column of the table and one of its values, as COLUMN=VALUE"
    )
