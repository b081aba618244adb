"""Confident learning: planted errors are found, sound labels are left alone."""

import numpy as np

from edgetransfer.tasks.classification.checks.labels import confident_joint, find_suspects


def planted(count=400, classes=4, wrong=20, seed=0):
    generator = np.random.default_rng(seed)
    truth = np.arange(count) % classes
    logits = generator.normal(size=(count, classes))
    logits[np.arange(count), truth] += 6
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = truth.copy()
    rows = generator.permutation(count)[:wrong]
    labels[rows] = (truth[rows] + 1) % classes
    return said, labels, truth, set(rows.tolist())


def test_what_is_listed_is_wrong_and_its_class_is_named():
    said, labels, truth, wrong = planted()
    found = find_suspects(said, labels)
    assert 5 <= len(found) <= len(wrong)
    assert {each.row for each in found} <= wrong
    assert all(each.likely == truth[each.row] for each in found)


def test_sound_labels_are_left_alone():
    said, _, truth, _ = planted(wrong=0)
    assert find_suspects(said, truth) == []


def test_rows_that_nothing_held_out_are_not_judged():
    said, labels, _, wrong = planted()
    said[sorted(wrong)[:15]] = np.nan
    assert {each.row for each in find_suspects(said, labels)} <= set(sorted(wrong)[15:])
    assert find_suspects(np.full_like(said, np.nan), labels) == []


def test_the_joint_counts_every_given_label_as_often_as_it_occurs():
    said, labels, _, _ = planted()
    joint, _ = confident_joint(said, labels)
    np.testing.assert_allclose(joint.sum(axis=1), np.bincount(labels))
