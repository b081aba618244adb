"""The laws of classes' names as further texts."""

import numpy as np
import pytest

from edgetransfer.tasks.classification.head.probe import fit_at
from edgetransfer.tasks.classification.head.texts import (
    TIMES,
    Judging,
    beside,
    fit_with_names,
    spelled,
    worth,
)

CLASSES, WIDTH, EACH = 8, 24, 5
TOP1 = Judging("top1")


@pytest.fixture
def made():
    """Few noisy examples round one centre a class, many new ones, and the centres."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, WIDTH)).astype(np.float32)

    def examples(count):
        labels = np.repeat(np.arange(CLASSES), count)
        noise = 2.5 * rng.standard_normal((len(labels), WIDTH))
        return (centres[labels] + noise).astype(np.float32), labels

    return examples(EACH), examples(200), centres


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("lost_or_stolen_card", "lost or stolen card"),
        ("reverted_card_payment?", "reverted card payment"),
        ("TopUpFailed", "Top Up Failed"),
        ("class-7", "class 7"),
        ("0", "0"),
        ("überweisung_fehlt", "überweisung fehlt"),
        ("?", "?"),
        ("+", "+"),
    ],
)
def test_labels_are_spelled_as_words(label, words):
    assert spelled(label) == words


def test_names_that_say_what_a_class_is_are_worth_it_and_help_new_examples(made):
    (features, labels), (new, truth), names = made
    gained = worth(features, labels, names, 0.1, TOP1)
    assert gained.clear
    right = [
        (fit_with_names(features, labels, told, 0.1).logits(new).argmax(axis=1) == truth).mean()
        for told in (None, names)
    ]
    assert right[1] > right[0] + 0.02


def test_names_that_say_nothing_are_not_heard(made):
    """Over ten sets of names drawn at will; an interval of 95 % may err on one."""
    (features, labels), *_ = made
    heard = []
    for seed in range(10):
        names = np.random.default_rng(seed).standard_normal((CLASSES, WIDTH)).astype(np.float32)
        heard.append(worth(features, labels, names, 0.1, TOP1).clear)
    assert sum(heard) <= 1


def test_names_of_other_classes_are_not_heard(made):
    (features, labels), _, names = made
    gained = worth(features, labels, np.roll(names, 1, axis=0), 0.1, TOP1)
    assert gained.value < 0
    assert not gained.clear


def test_a_class_of_one_example_leaves_nothing_to_judge_by(made):
    (features, labels), _, names = made
    kept = [*np.flatnonzero(labels > 0).tolist(), 0]
    assert worth(features[kept], labels[kept], names, 0.1, TOP1) is None


def test_a_name_counts_as_some_texts_of_its_class(made):
    (features, labels), _, names = made
    joined, truth = beside(features, labels, names)
    assert np.bincount(truth).tolist() == [EACH + TIMES] * CLASSES
    assert np.array_equal(joined[len(labels) :], np.tile(names, (TIMES, 1)))
    one = fit_with_names(features, labels, names, 0.1)
    assert np.array_equal(one.weight, fit_at(joined, truth, 0.1).weight)


def test_without_names_it_is_the_plain_fit(made):
    (features, labels), *_ = made
    one, other = fit_with_names(features, labels, None, 0.1), fit_at(features, labels, 0.1)
    assert np.array_equal(one.weight, other.weight)
    assert np.array_equal(one.bias, other.bias)


def test_groups_are_never_on_both_sides(made):
    """Where a group is all of a class, no fold may hold it out."""
    (features, labels), _, names = made
    assert worth(features, labels, names, 0.1, Judging("top1", labels)) is None
