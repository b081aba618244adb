"""Calibration takes training examples only, labels in proportion."""

from __future__ import annotations

from collections import Counter

import pytest

from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.data.split import calibration_sample
from edgetransfer.errors import SpecError
from edgetransfer.tasks.classification.labels import CLASSES


def manifest(**numbers: int) -> Manifest:
    examples = [
        Example(f"{split} {label} {i}", None, "", label, split, {}, f"{split}{label}{i}")
        for split in ("train", "validation", "test")
        for label, number in numbers.items()
        for i in range(number)
    ]
    return Manifest("text", tuple(examples), tuple(sorted(numbers)), "/")


def test_in_proportion_from_train() -> None:
    sample = calibration_sample(manifest(a=60, b=30, c=10), 20, seed=0, rules=CLASSES)
    assert {e.split for e in sample} == {"train"}
    assert Counter(e.label for e in sample) == {"a": 12, "b": 6, "c": 2}


def test_rare_labels_are_there() -> None:
    sample = calibration_sample(manifest(a=500, b=1, c=1), 3, seed=0, rules=CLASSES)
    assert {e.label for e in sample} == {"a", "b", "c"}


def test_all_where_there_are_no_more() -> None:
    data = manifest(a=3, b=2)
    assert calibration_sample(data, 99, seed=0, rules=CLASSES) == data.split("train")


def test_seeded_and_independent_of_order() -> None:
    data = manifest(a=50, b=50)
    mirrored = Manifest("text", data.examples[::-1], data.labels, "/")
    one = calibration_sample(data, 10, seed=1, rules=CLASSES)
    assert set(one) == set(calibration_sample(mirrored, 10, seed=1, rules=CLASSES))
    assert set(one) != set(calibration_sample(data, 10, seed=2, rules=CLASSES))


def test_none_is_too_few() -> None:
    with pytest.raises(SpecError) as caught:
        calibration_sample(manifest(a=1), 0, seed=0, rules=CLASSES)
    assert str(caught.value) == ("too few calibration examples\n  found: 0\n  expected: at least 1")
