"""LogME and the H-score against independent formulas, and the laws they obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf

from edgetransfer.tasks.classification.checks.transferability import h_score, log_evidence


def blobs(seed=0, count=60, width=8, apart=2.0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 3)
    features = rng.normal(size=(count, width))
    features[np.arange(count), labels] += apart
    return features, labels


def evidence_by_hand(features, target, alpha, beta):
    """Log density of the target under N(0, F F^T / alpha + I / beta): no posterior, no SVD."""
    count = len(target)
    covariance = features @ features.T / alpha + np.eye(count) / beta
    _, determinant = np.linalg.slogdet(covariance)
    mahalanobis = target @ np.linalg.solve(covariance, target)
    return -(determinant + mahalanobis + count * np.log(2 * np.pi)) / (2 * count)


@pytest.mark.parametrize("width", [4, 90])
def test_log_evidence_is_the_largest_marginal_likelihood(width):
    features, labels = blobs(width=width)
    best = []
    for label in range(3):
        target = (labels == label).astype(float)

        def loss(logs, target=target):
            return -evidence_by_hand(features, target, *np.exp(logs))

        best.append(-minimize(loss, [0.0, 0.0], method="Nelder-Mead", tol=1e-10).fun)
    assert log_evidence(features, labels) == pytest.approx(np.mean(best), abs=1e-5)


@pytest.mark.parametrize("width", [4, 90])
def test_h_score_is_the_trace_of_its_paper(width):
    features, labels = blobs(width=width)
    fitted = LedoitWolf().fit(features)
    means = np.stack([features[labels == each].mean(axis=0) for each in labels])
    means = (means - features.mean(axis=0)) * np.sqrt(1 - fitted.shrinkage_)
    expected = np.trace(np.linalg.inv(fitted.covariance_) @ (means.T @ means / len(means)))
    assert h_score(features, labels) == pytest.approx(expected, rel=1e-6)


def test_h_score_worked_by_hand():
    # Two classes at -1 and 1, each with one half on either side at distance 1: variance 2,
    # of which 1 lies between the classes. One feature is not shrunk: 1 / 2.
    features = np.array([[-2.0], [0.0], [0.0], [2.0]])
    assert h_score(features, np.array([0, 0, 1, 1])) == pytest.approx(0.5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_rotation_does_not_matter(seed):
    features, labels = blobs(seed)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(8, 8)))
    for score in (log_evidence, h_score):
        assert score(features @ rotation, labels) == pytest.approx(
            score(features, labels), rel=1e-4
        )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_shuffled_labels_score_lower(seed):
    features, labels = blobs(seed, apart=3.0)
    shuffled = np.random.default_rng(seed).permutation(labels)
    for score in (log_evidence, h_score):
        assert score(features, shuffled) < score(features, labels)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), factor=st.floats(0.1, 10))
def test_the_h_score_has_no_unit(seed, factor):
    features, labels = blobs(seed)
    assert h_score(factor * features, labels) == pytest.approx(h_score(features, labels), rel=1e-6)


def test_features_that_never_vary():
    labels = np.arange(12) % 3
    assert h_score(np.ones((12, 5)), labels) == 0.0
    assert np.isfinite(log_evidence(np.ones((12, 5)), labels))
