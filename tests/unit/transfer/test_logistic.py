"""The path of logistic regressions ends where scikit-learn's does."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from edgetransfer.tasks.classification.head.linear_heads import Fits, LogisticPath, _predicted
from edgetransfer.tasks.classification.head.probe import log_loss

STRENGTHS = (0.01, 0.3, 10.0)


def problem(count, width, classes, seed=0):
    """Centred features of very uneven spread, and labels that depend on some of them."""
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, width)) * np.logspace(0, -2, width)
    features -= features.mean(axis=0)
    scores = features @ generator.normal(size=(width, classes)) * 3
    labels = (scores + generator.gumbel(size=scores.shape)).argmax(axis=1)
    labels[:classes] = np.arange(classes)
    return features, labels


def objective(features, labels, weight, bias, strength):
    logits = features @ weight.T + bias
    return strength * len(labels) * log_loss(logits, labels) + (weight.astype(float) ** 2).sum() / 2


def by_sklearn(features, labels, strength):
    return LogisticRegression(C=strength, tol=1e-8, max_iter=10_000).fit(features, labels)


def fit(path, rows, labels, strengths):
    """Return weight and bias for every strength."""
    ascending = sorted(strengths)
    walked = path.walk(Fits(rows, labels, np.ones((1, len(rows)))), ascending, tolerance=1e-9)
    return {c: (weight[0], bias[0]) for c, (weight, bias) in zip(ascending, walked, strict=True)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("count", "width"), [(120, 10), (40, 60)], ids=["N > D", "N < D"])
def test_the_objective_is_as_small_as_scikit_learns(count, width, seed):
    features, labels = problem(count, width, 4, seed)
    fitted = fit(LogisticPath(features), np.arange(count), labels, STRENGTHS)
    for strength, (weight, bias) in fitted.items():
        assert (weight.shape, bias.shape) == ((4, width), (4,))
        assert weight.dtype == bias.dtype == np.float32
        peer = by_sklearn(features, labels, strength)
        found = objective(features, labels, weight, bias, strength)
        least = objective(features, labels, peer.coef_, peer.intercept_, strength)
        assert abs(found / least - 1) < 1e-3


def test_logits_are_those_at_the_minimum():
    """Where classes are told apart easily, what is left to gain is lost among larger numbers."""
    off, labels, every = [], np.arange(150) % 2, np.arange(150)
    for seed in range(3):
        features = np.abs(np.random.default_rng(seed).normal(size=(150, 400)))
        features += np.eye(2, 400)[labels] * 6
        features -= features.mean(axis=0)
        weight, bias = fit(LogisticPath(features), every, labels, [1.0])[1.0]
        margins = features @ (weight[1] - weight[0]) + bias[1] - bias[0]
        meant = by_sklearn(features, labels, 2.0).decision_function(features)
        off.append(np.abs(margins - meant).max())
    assert np.mean(off) < 0.01


@pytest.mark.parametrize("strength", STRENGTHS)
def test_two_classes_are_scikit_learns_at_twice_the_c(strength):
    features, labels = problem(100, 8, 2)
    weight, bias = fit(LogisticPath(features), np.arange(100), labels, [strength])[strength]
    peer = by_sklearn(features, labels, 2 * strength)
    scale = np.abs(peer.coef_).max()
    np.testing.assert_allclose(weight[1] - weight[0], peer.coef_[0], atol=2e-3 * scale)
    np.testing.assert_allclose(bias[1] - bias[0], peer.intercept_[0], atol=2e-3 * max(1, scale))


def test_only_the_rows_given_are_fitted():
    features, labels = problem(90, 10, 3)
    rows = np.arange(0, 90, 2)
    path = LogisticPath(features)
    weight, bias = fit(path, rows, labels[rows], [0.3])[0.3]
    peer = by_sklearn(features[rows], labels[rows], 0.3)
    found = objective(features[rows], labels[rows], weight, bias, 0.3)
    least = objective(features[rows], labels[rows], peer.coef_, peer.intercept_, 0.3)
    assert abs(found / least - 1) < 1e-3


def test_where_the_path_has_been_does_not_matter():
    features, labels = problem(60, 12, 3)
    path, rows = LogisticPath(features), np.arange(60)
    alone = fit(path, rows, labels, [1.0])[1.0]
    along = fit(path, rows, labels, [1.0, 0.001, 0.1])
    assert list(along) == [0.001, 0.1, 1.0]
    for one, other in zip(alone, along[1.0], strict=True):
        np.testing.assert_allclose(one, other, atol=5e-3)


def test_a_stronger_penalty_gives_smaller_weights():
    features, labels = problem(60, 12, 3)
    fitted = fit(LogisticPath(features), np.arange(60), labels, STRENGTHS)
    sizes = [float((weight**2).sum()) for weight, _ in fitted.values()]
    assert sizes == sorted(sizes)


def test_features_that_never_change_leave_the_shares_of_the_classes():
    labels = np.array([0, 0, 0, 1])
    weight, bias = fit(LogisticPath(np.zeros((4, 5))), np.arange(4), labels, [1.0])[1.0]
    assert not weight.any()
    assert bias[0] - bias[1] == pytest.approx(np.log(3), abs=1e-3)


def test_a_feature_that_stands_there_twice_is_shared():
    features, labels = problem(50, 4, 3)
    twice = np.concatenate([features, features], axis=1)
    weight, _ = fit(LogisticPath(twice), np.arange(50), labels, [1.0])[1.0]
    np.testing.assert_allclose(weight[:, :4], weight[:, 4:], atol=1e-4)


@pytest.fixture(scope="module")
def folds():
    """Three fits of 90 rows, some of which count twice, beside what is known before."""
    features, labels = problem(90, 10, 3)
    counts = np.random.default_rng(1).choice([0.0, 1.0, 2.0], size=(3, 90))
    counts[:, :3] = 1
    offsets = np.random.default_rng(2).normal(size=(3, 3, 90)).astype(np.float32)
    return LogisticPath(features), labels, counts, offsets


def test_fits_side_by_side_are_those_of_each_alone(folds):
    path, labels, counts, offsets = folds
    together = path.walk(Fits(np.arange(90), labels, counts, offsets), STRENGTHS, tolerance=1e-9)
    alone = []
    for count, offset in zip(counts, offsets, strict=True):
        rows = np.flatnonzero(count)
        fits = Fits(rows, labels[rows], count[None, rows], offset[None][:, :, rows])
        alone.append(list(path.walk(fits, STRENGTHS, tolerance=1e-9)))
    for place, (weights, biases) in enumerate(together):
        assert (weights.shape, biases.shape) == ((3, 3, 10), (3, 3))
        for fit in range(3):
            (weight,), (bias,) = alone[fit][place]
            np.testing.assert_allclose(weights[fit], weight, atol=2e-3 * np.abs(weight).max())
            np.testing.assert_allclose(biases[fit], bias, atol=2e-3 * max(1, np.abs(bias).max()))


def test_counting_twice_is_standing_there_twice(folds):
    path, labels, counts, _ = folds
    rows = np.repeat(np.arange(90), counts[0].astype(int))
    known = fit(path, rows, labels[rows], [0.3])[0.3]
    fits = Fits(np.arange(90), labels, counts[:1])
    (((weight,), (bias,)),) = path.walk(fits, [0.3], tolerance=1e-9)
    np.testing.assert_allclose(weight, known[0], atol=2e-3 * np.abs(weight).max())
    np.testing.assert_allclose(bias, known[1], atol=2e-3)


def test_the_path_is_predicted_to_where_it_goes():
    """A parabola over log C is met by the first guess."""
    past = [(c, np.full((1, 2, 3), np.log10(c) ** 2, np.float32)) for c in (1.0, 3.0, 10.0)]
    np.testing.assert_allclose(_predicted(past, 100.0), 4.0, rtol=1e-5)
    np.testing.assert_allclose(_predicted(past, 10.0**1.5), 2.25, rtol=1e-5)
