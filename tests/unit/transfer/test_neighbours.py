"""Nearest neighbours against chance."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgetransfer.tasks.classification.checks.transferability import ask_neighbours


def blobs(seed=0, count=60, apart=4.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    features = rng.normal(size=(count, 8))
    features[np.arange(count), labels] += apart
    return features, labels


def test_classes_that_lie_apart_are_told_apart():
    found = ask_neighbours(*blobs())
    assert (found.k, found.n) == (5, 60)
    assert found.accuracy > 0.95
    assert found.chance == pytest.approx(1 / 3, abs=0.06)
    assert found.p == pytest.approx(1 / 201)


def test_noise_is_at_chance():
    found = ask_neighbours(*blobs(apart=0.0))
    assert found.p > 0.05


def test_an_example_does_not_vote_for_itself():
    features, labels = np.eye(8), np.repeat([0, 1], 4)
    assert ask_neighbours(features, labels).accuracy <= 0.5


def test_nobody_votes_where_a_class_has_one_example():
    assert ask_neighbours(np.eye(3), np.array([0, 0, 1])) is None


def test_a_group_does_not_vote_for_its_own():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 5)
    labels = groups % 2
    features = np.repeat(rng.normal(size=(12, 16)), 5, axis=0) + 0.01 * rng.normal(size=(60, 16))
    assert ask_neighbours(features, labels).accuracy == 1.0
    assert ask_neighbours(features, labels, groups=groups).accuracy < 0.8


@given(seed=st.integers(0, 100), scale=st.floats(0.01, 100))
def test_scale_and_offset_do_not_matter(seed, scale):
    features, labels = blobs(seed, apart=1.0)
    moved = ask_neighbours(scale * features + 3.0, labels)
    assert moved.accuracy == ask_neighbours(features, labels).accuracy
