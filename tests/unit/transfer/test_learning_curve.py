"""The learning curve: nested subsets, judged on what was not fitted on."""

import numpy as np
import pytest

from edgetransfer.tasks.classification.checks.labels import CurveData, measure_curve, nested_order


def blobs(count, classes=2, seed=0):
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    centres = np.random.default_rng(9).normal(size=(classes, 20))
    features = centres[labels] + 4.0 * generator.normal(size=(count, 20))
    return features.astype(np.float32), labels


@pytest.mark.parametrize("size", [4, 10, 50])
def test_the_first_of_the_order_are_a_stratified_subset(size):
    labels = np.repeat([0, 1], [80, 20])
    order = nested_order(labels, None, seed=3)
    assert sorted(order) == list(range(100))
    assert abs((labels[order[:size]] == 1).sum() - size / 5) <= 1


def test_groups_come_one_after_another():
    groups = np.arange(60) % 6
    ordered = groups[nested_order(np.arange(60) % 2, groups, seed=0)]
    assert (np.diff(ordered) != 0).sum() == 5


def test_the_error_falls_and_every_example_is_judged():
    features, labels = blobs(300)
    curve = measure_curve(CurveData(features, labels, 240, 0.01))
    assert curve.sizes.tolist() == [24, 43, 77, 134, 240]
    assert curve.rows.tolist() == list(range(300))
    error = curve.wrong.mean(axis=(0, 2))
    assert error[0] > error[-1] + 0.05


def test_many_validation_examples_judge_alone():
    features, labels = blobs(700)
    curve = measure_curve(CurveData(features, labels, 100, 0.01))
    assert curve.rows.tolist() == list(range(100, 700))
    assert curve.sizes[-1] == 100


def test_too_few_examples_give_no_curve():
    features, labels = blobs(12, classes=4)
    assert measure_curve(CurveData(features, labels, 8, 0.01)) is None
    assert measure_curve(CurveData(features[:5], np.array([0, 1, 0, 1, 2]), 5, 0.01)) is None
