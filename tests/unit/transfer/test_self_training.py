"""The laws of self-training, on classes that touch."""

import numpy as np
import pytest

from edgetransfer.tasks.classification.head.probe import fit_at, folds
from edgetransfer.tasks.classification.head.texts import (
    SURE,
    balanced,
    fit_with_guesses,
    guess,
    held_out,
)

STRENGTH = 1.0


@pytest.fixture
def drawn():
    """Examples of four classes, each a cloud around a corner of its own."""

    def draw(counts, seed):
        rng = np.random.default_rng(seed)
        labels = np.repeat(np.arange(4), counts)
        corners = 2.0 * np.eye(4, 12)
        features = corners[labels] + rng.normal(size=(len(labels), 12))
        return features.astype(np.float32), labels

    return draw


def accuracy(head, features, labels):
    return float((head.logits(features).argmax(axis=1) == labels).mean())


def test_a_head_gains_from_examples_without_labels(drawn):
    """In the mean over draws of three labelled examples a class, by two standard errors."""
    test, truth = drawn([300] * 4, seed=99)
    gains = []
    for seed in range(20):
        features, labels = drawn([3] * 4, seed)
        more, _ = drawn([100] * 4, 50 + seed)
        head, guesses = fit_with_guesses(features, labels, more, STRENGTH)
        plain = fit_at(features, labels, STRENGTH)
        gains.append(accuracy(head, test, truth) - accuracy(plain, test, truth))
        assert len(guesses.rows) == round(SURE * len(more))
    assert np.mean(gains) > 2 * np.std(gains, ddof=1) / len(gains) ** 0.5


def test_classes_come_in_the_shares_asked_for():
    chances = np.random.default_rng(0).dirichlet([1.0, 2.0, 8.0], size=500)
    shares = np.array([0.5, 0.3, 0.2])
    found = balanced(chances, shares)
    np.testing.assert_allclose(found.mean(axis=0), shares, atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    order = np.argsort(chances[:, 0] / chances[:, 1])
    ratios = (found[:, 0] / found[:, 1])[order]
    assert np.all(np.diff(ratios) > 0)  # two rows are never turned round


def test_the_surest_are_guessed_and_a_favoured_class_is_not():
    """Every logit favours class 0; as the labels do not, the halves are told apart."""
    lean = np.linspace(-1, 1, 10)
    found = guess(np.stack([5 - lean, lean], axis=1), np.array([0.5, 0.5]))
    assert len(found.rows) == 7
    assert {0, 1, 2, 7, 8, 9} <= set(found.rows.tolist())
    assert np.array_equal(found.labels, (lean[found.rows] > 0).astype(int))


def test_what_is_held_out_was_not_fitted_on(drawn):
    """Wrong labels in one fold change nothing of what is said of that fold."""
    features, labels = drawn([6] * 4, seed=1)
    more, _ = drawn([20] * 4, seed=2)
    before, after = held_out(features, labels, more, STRENGTH, groups=None, seed=0)
    _, out = next(iter(folds(labels, None, 0)))
    moved = features.copy()
    moved[out[:2]] += 3.0
    again = held_out(moved, labels, more, STRENGTH, groups=None, seed=0)
    np.testing.assert_array_equal(again[0][out[2:]], before[out[2:]])
    np.testing.assert_array_equal(again[1][out[2:]], after[out[2:]])
    assert not np.array_equal(again[1], after)


def test_one_example_a_class_leaves_nothing_to_hold_out(drawn):
    features, labels = drawn([1] * 4, seed=1)
    found = held_out(features, labels, features, STRENGTH, groups=None, seed=0)
    assert np.isnan(found).all()
