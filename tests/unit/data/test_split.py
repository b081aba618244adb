"""Splits are seeded, stratified, and do not depend on the order of reading."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgetransfer.data.manifest import Example
from edgetransfer.data.split import (
    ALL_SHARES,
    VALIDATION_SHARES,
    across_note,
    carve,
    deal,
    name_roles,
    shares_to_carve,
)
from edgetransfer.errors import DataError
from edgetransfer.tasks.classification.labels import CLASSES


def records(split: str | None = None, who: int = 1, **numbers: int) -> tuple[Example, ...]:
    """Records by label, all different, dealt to `who` speakers in turn."""
    return tuple(
        Example(
            key=f"{split} {label} {i}",
            path=None,
            text="",
            label=label,
            split=split,
            metadata={"who": f"w{i % who}"},
            digest=f"{split}-{label}-{i:04}",
        )
        for label, number in numbers.items()
        for i in range(number)
    )


def sizes(done: tuple[Example, ...]) -> Counter:
    return Counter((r.split, r.label) for r in done)


def test_all_carved() -> None:
    done, notes = carve(records(a=100, b=20, c=4), CLASSES, seed=3, split_by=None)
    assert sizes(done) == {
        ("train", "a"): 70,
        ("validation", "a"): 15,
        ("test", "a"): 15,
        ("train", "b"): 14,
        ("validation", "b"): 3,
        ("test", "b"): 3,
        ("train", "c"): 2,
        ("validation", "c"): 1,
        ("test", "c"): 1,
    }
    assert notes == [
        "no split was given, so all examples were split by label, seed 3: "
        "86 for train (69%), 19 for validation (15%), 19 for test (15%)"
    ]


def test_validation_carved_from_train_and_test_kept() -> None:
    given_ = records("train", a=10, b=5) + records("test", a=4, b=2)
    done, notes = carve(given_, CLASSES, seed=0, split_by=None)
    assert done[15:] == given_[15:]
    assert sizes(done[:15]) == {
        ("train", "a"): 8,
        ("validation", "a"): 2,
        ("train", "b"): 4,
        ("validation", "b"): 1,
    }
    assert notes == [
        "without a validation set, the training examples were split by label, seed 0: "
        "12 for train (80%), 3 for validation (20%)"
    ]


def test_given_splits_are_kept() -> None:
    given_ = records("train", a=3) + records("validation", a=2) + records("test", a=2)
    assert name_roles(given_) == (given_, [])
    assert shares_to_carve(given_) == {}
    assert carve(given_, CLASSES, seed=0, split_by=None) == (given_, [])


def test_validation_becomes_test_where_there_is_none() -> None:
    done, notes = name_roles(records("train", a=3) + records("validation", a=2))
    assert sizes(done) == {("train", "a"): 3, ("test", "a"): 2}
    assert notes == ["no test set was given, so the given validation set is the test set"]
    assert shares_to_carve(done) == VALIDATION_SHARES


def test_all_for_training_is_no_split() -> None:
    done, notes = name_roles(records("train", a=3))
    assert {r.split for r in done} == {None}
    assert notes == []
    assert shares_to_carve(done) == ALL_SHARES


@settings(max_examples=40, deadline=None)
@given(
    numbers=st.dictionaries(st.sampled_from("abcdef"), st.integers(4, 40), min_size=2),
    seed=st.integers(0, 2**32 - 1),
    shuffle=st.randoms(use_true_random=False),
)
def test_order_of_reading_does_not_matter(numbers, seed, shuffle) -> None:
    ordered = records(**numbers)
    mixed = list(ordered)
    shuffle.shuffle(mixed)
    one = {r.key: r.split for r in carve(ordered, CLASSES, seed=seed, split_by=None)[0]}
    other = {r.key: r.split for r in carve(tuple(mixed), CLASSES, seed=seed, split_by=None)[0]}
    assert one == other
    counts = Counter((r.label, one[r.key]) for r in ordered)
    for label, number in numbers.items():
        for part in ("validation", "test"):
            assert counts[label, part] == max(1, int(0.15 * number + 0.5))


def test_seeds_differ() -> None:
    data = records(a=50, b=50)
    splits = {
        tuple(r.split for r in carve(data, CLASSES, seed=s, split_by=None)[0]) for s in range(5)
    }
    assert len(splits) == 5


def test_every_example_can_go_anywhere() -> None:
    """No position is favoured: over many seeds each example is in test about 15 % of the time."""
    data = records(a=20, b=20)
    done = [carve(data, CLASSES, seed=s, split_by=None)[0] for s in range(400)]
    in_test = np.array([[r.split == "test" for r in one] for one in done]).mean(axis=0)
    assert 0.08 < in_test.min() < in_test.max() < 0.22


def test_equal_contents_stay_together() -> None:
    data = records(a=30, b=30)
    twins = data + tuple(
        Example(f"twin {r.key}", None, "", r.label, None, {}, r.digest) for r in data
    )
    done, _ = carve(twins, CLASSES, seed=1, split_by=None)
    assert [r.split for r in done[:60]] == [r.split for r in done[60:]]


@settings(max_examples=40, deadline=None)
@given(who=st.integers(3, 12), seed=st.integers(0, 2**32 - 1))
def test_groups_stay_on_one_side(who: int, seed: int) -> None:
    done, _ = carve(records(a=48, b=24, who=who), CLASSES, seed=seed, split_by="who")
    sides = {r.metadata["who"]: r.split for r in done}
    assert all(r.split == sides[r.metadata["who"]] for r in done)
    assert set(sides.values()) == {"train", "validation", "test"}
    assert sum(r.split == "train" for r in done) >= 72 / 3


def test_two_groups_fill_two_splits() -> None:
    done, notes = carve(records("train", a=10, b=10, who=2), CLASSES, seed=0, split_by="who")
    assert Counter(r.split for r in done) == {"train": 10, "validation": 10}
    assert notes == [
        "without a validation set, the training examples were split by label, seed 0, every who "
        "on one side: 10 for train (50%), 10 for validation (50%)"
    ]


def test_too_few_groups() -> None:
    with pytest.raises(DataError) as caught:
        carve(records(a=5, b=5, who=2), CLASSES, seed=0, split_by="who")
    assert str(caught.value) == (
        "--split-by: too few values of who to keep them apart\n"
        "  found: 2 values in 10 examples\n"
        "  expected: at least 3, one each for train, validation, test\n"
        "  fix: leave --split-by out, or add a column split"
    )


def test_a_label_that_one_group_has_goes_to_train() -> None:
    units = [Counter(a=10), Counter(a=10), Counter(a=10), Counter(a=1, rare=1)]
    for seed in range(10):
        assert deal(units, ALL_SHARES, np.random.default_rng(seed))[3] == "train"


def test_values_on_both_sides_are_told() -> None:
    data = records("train", a=4, who=2) + records("test", a=6, who=3)
    assert across_note(data, "who") == (
        "2 of the 3 values of who in the test set also stand in train or validation: "
        "the test score does not tell how a new who fares"
    )
    assert across_note(records("train", a=4), "who") is None
