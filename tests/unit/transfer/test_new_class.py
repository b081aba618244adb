"""One more row from kept means and spread."""

import tracemalloc

import numpy as np
import pytest

from edgetransfer.tasks.classification.head.new_class import (
    expected_accuracy,
    fit_row,
    measure_statistics,
)
from edgetransfer.tasks.classification.head.probe import fit_at


def test_a_new_class_is_found_and_the_old_rows_stay():
    rng = np.random.default_rng(0)
    means = 6 * np.eye(4, 8)
    labels = np.repeat(np.arange(3), 30)
    rows = (means[labels] + rng.normal(size=(90, 8))).astype(np.float32)
    old, statistics = fit_at(rows, labels, 0.1), measure_statistics(rows, labels, 3)
    new = fit_row(statistics, old, means[3] + rng.normal(size=(3, 8)), max_drop=0.02)
    assert (new.weight[:3] == old.weight).all()
    assert (new.bias[:3] == old.bias).all()
    unseen = means[3] + rng.normal(size=(200, 8))
    assert (new.logits(unseen).argmax(axis=1) == 3).mean() > 0.9
    lost = expected_accuracy(statistics, old, 3) - expected_accuracy(statistics, new, 3)
    assert lost <= 0.04


def test_without_two_examples_of_a_class_nothing_is_known():
    assert measure_statistics(np.eye(3, 5), np.arange(3), 3) is None


def dense(features, labels):
    """Variances, components and residual by the covariance of all features, D x D."""
    rest = features - np.stack([features[labels == c].mean(axis=0) for c in range(3)])[labels]
    covariance = rest.T @ rest / (len(rest) - 3)
    variances, vectors = np.linalg.eigh(covariance)
    top = np.argsort(-variances)[:16]
    kept = variances[top].clip(min=0)
    residual = np.diag(covariance) - (vectors[:, top] ** 2 * kept).sum(axis=1)
    return kept, vectors[:, top].T, residual.clip(min=0)


@pytest.mark.parametrize("width", [20, 200])
def test_statistics_are_those_of_the_covariance_wide_or_not_e7(width):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    mixing = rng.normal(size=(width, width)) * np.logspace(0, -3, width)[:, None]
    features = (rng.normal(size=(60, width)) @ mixing + labels[:, None]).astype(np.float32)
    found = measure_statistics(features, labels, 3)
    variances, components, residual = dense(features.astype(np.float64), labels)
    np.testing.assert_allclose(found.variances, variances, rtol=1e-3)
    along = np.abs((found.components.astype(np.float64) * components).sum(axis=1))
    np.testing.assert_allclose(along, 1.0, atol=1e-2)
    np.testing.assert_allclose(found.residual, residual, atol=2e-3 * variances[0])


def test_statistics_of_a_wide_layer_take_memory_of_its_features_e7():
    features = np.random.default_rng(0).random((64, 12288), dtype=np.float32)
    tracemalloc.start()
    found = measure_statistics(features, np.repeat([0, 1], 32), 2)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 12 * features.nbytes  # D x D in float64 were 1.2 GB: 384 times as much
    assert found.components.shape == (16, 12288)
    assert np.linalg.norm(found.components[0].astype(np.float32)) == pytest.approx(1, abs=1e-3)


def test_means_beside_which_features_hardly_vary_are_kept_in_32_bits_d2():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 30)
    features = 2.65 + 1e-4 * (rng.normal(size=(60, 8)) + 3 * labels[:, None])
    found = measure_statistics(features.astype(np.float32), labels, 2)
    assert found.means.dtype == np.float32
    gaps = found.means[1].astype(np.float64) - found.means[0]
    np.testing.assert_allclose(gaps, 3e-4, rtol=0.3)
    assert measure_statistics(1e3 * (features - 2.65), labels, 2).means.dtype == np.float16
