"""What a backbone's own classifier says of new classes helps where it knows them, else nothing."""

import numpy as np
import pytest

from edgetransfer.backbone.model import LinearHead
from edgetransfer.tasks.classification.head.linear_heads import Known, LinearHeads, source_prior
from edgetransfer.tasks.classification.head.probe import fit_probe

WIDTH, SOURCES = 40, 8


@pytest.fixture(scope="module")
def source():
    """A classifier of 8 classes that stand apart in the first 8 of 40 features."""
    weight = np.zeros((SOURCES, WIDTH), np.float32)
    weight[:, :SOURCES] = np.eye(SOURCES)
    return LinearHead(weight, np.zeros(SOURCES, np.float32))


def examples(kinds, count, seed=0):
    """Return `count` examples of each kind, the direction of a source class each, amid noise."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(kinds)), count)
    features = generator.normal(size=(len(labels), WIDTH)) * 2
    features[np.arange(len(labels)), np.array(kinds)[labels]] += 9
    return features.astype(np.float32), labels


def right(head, judged):
    features, labels = judged
    return (head.logits(features).argmax(axis=1) == labels).mean()


def test_one_example_a_class_is_enough_where_the_source_knows_the_classes(source):
    few, judged = examples([2, 5], 1), examples([2, 5], 200, seed=1)
    alone = fit_probe(*few).head
    told = fit_probe(*few, known=Known(source=source)).head
    assert right(told, judged) > max(0.97, right(alone, judged) + 0.05)


def test_a_source_that_sees_all_classes_alike_changes_nothing(source):
    generator = np.random.default_rng(3)
    labels = np.arange(60) % 3
    features = generator.normal(size=(60, WIDTH)).astype(np.float32)
    features[:, :SOURCES] = 0
    features[np.arange(60), 20 + labels] += 3
    alone = fit_probe(features, labels)
    told = fit_probe(features, labels, known=Known(source=source))
    np.testing.assert_allclose(told.head.weight, alone.head.weight, atol=1e-5)
    assert told.strength == alone.strength


def test_a_strong_penalty_leaves_the_prior(source):
    features, labels = examples([1, 4, 6], 10)
    every = np.arange(len(labels))
    heads = LinearHeads(features, labels, Known(source=source))
    ((head,),) = heads.walk([every], [1e-9], tolerance=1e-9)
    np.testing.assert_allclose(
        head.weight, source_prior(source, features, labels).weight, atol=1e-5
    )


def test_held_out_examples_are_not_in_the_prior(source):
    """Cross-validation must not learn from an example what the source sees it as."""
    features, labels = examples([1, 4], 6)
    heads, odd = LinearHeads(features, labels, Known(source=source)), features.copy()
    odd[0] = -odd[0]
    moved = LinearHeads(odd, labels, Known(source=source))
    rows = np.arange(1, len(labels))
    ((one,),), ((other,),) = (each.walk([rows], [1e-9], tolerance=1e-9) for each in (heads, moved))
    np.testing.assert_allclose(one.weight, other.weight, atol=1e-5)


def test_a_common_shift_of_all_classes_is_taken_off(source):
    prior = source_prior(source, *examples([0, 3, 7], 4))
    np.testing.assert_allclose(prior.weight.sum(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(prior.bias.sum(), 0, atol=1e-6)
