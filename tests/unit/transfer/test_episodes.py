"""Nearest-prototype heads and the episodes that judge heads."""

import numpy as np
import pytest

from edgetransfer.errors import DataError
from edgetransfer.tasks.classification.episodes import (
    SHARPNESS,
    Episodes,
    EpisodeShape,
    accuracies,
    fit_prototypes,
    mean_and_half_width,
)
from edgetransfer.tasks.classification.head.probe import fit_probe


def clusters(each, classes=6, width=20, spread=0.8):
    labels = np.repeat(np.arange(classes), each)
    centres = np.random.default_rng(7).normal(size=(classes, width))
    noise = np.random.default_rng(8).normal(size=(len(labels), width))
    return (centres[labels] + spread * noise).astype(np.float32), labels


def test_decisions_are_those_of_the_largest_cosine():
    features, labels = clusters(3)
    head = fit_prototypes(features, labels)
    scale = head.weight  # one row a class, in the raw features' units
    new = clusters(9)[0]
    mean = features.mean(axis=0)
    cosines = (new - mean) @ scale.T
    assert (head.logits(new).argmax(axis=1) == cosines.argmax(axis=1)).all()
    assert (head.logits(new).argmax(axis=1) == clusters(9)[1]).mean() > 0.9
    assert np.abs(head.logits(features)).max() < 2 * SHARPNESS


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_scaling_and_shifting_features_changes_no_decision(scale):
    features, labels = clusters(2)
    new = clusters(9)[0]
    plain = fit_prototypes(features, labels).logits(new)
    moved = fit_prototypes((features + 3) * scale, labels).logits((new + 3) * scale)
    np.testing.assert_allclose(moved, plain, atol=1e-2)


def test_examples_that_are_all_the_same_give_numbers():
    head = fit_prototypes(np.ones((4, 3), np.float32), np.array([0, 0, 1, 1]))
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.bias).all()


def test_an_episode_never_judges_by_what_it_learnt_from_and_is_drawn_again_the_same():
    labels = np.repeat(np.arange(7), 9)
    episodes = Episodes(labels, EpisodeShape(ways=3, shots=2, queries=7), seed=4)
    for number in range(20):
        episode = episodes.draw(number)
        assert episode.support.shape == (3, 2)
        assert not set(episode.support.ravel()) & set(episode.query.ravel())
        rows = np.concatenate([episode.support, episode.query], axis=1)
        assert (labels[rows] == labels[rows][:, :1]).all()
        assert len(set(labels[rows][:, 0])) == 3
        np.testing.assert_array_equal(episodes.draw(number).support, episode.support)


def test_too_few_examples_are_refused():
    with pytest.raises(DataError) as error:
        Episodes(np.array([0] * 20 + [1] * 5), EpisodeShape(2, 5), seed=0)
    assert str(error.value) == (
        "too few classes with enough examples for an episode\n"
        "  found: 1 of 2 classes have 20 examples (5 shots and 15 queries)\n"
        "  expected: 2\n"
        "  fix: take fewer --ways, --shots or --queries"
    )


def test_heads_are_judged_on_the_same_episodes_and_beat_chance():
    features, labels = clusters(20)
    heads = {
        "prototypes": fit_prototypes,
        "again": fit_prototypes,
        "regression": lambda rows, truth: fit_probe(rows, truth).head,
    }
    episodes = Episodes(labels, EpisodeShape(5, 1, 10), seed=0)
    right = accuracies(features, episodes, 12, heads)
    np.testing.assert_array_equal(right["prototypes"], right["again"])
    assert all(values.mean() > 0.5 for values in right.values())
    mean, half = mean_and_half_width(right["prototypes"])
    assert 0 < half < 0.2 < mean
