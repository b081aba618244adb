"""Copies are found, for they are nearer than what is surely not the same; neighbours are not."""

import numpy as np
import pytest
from scipy import sparse

from edgetransfer.transfer.study.near_duplicates import candidates, confirmed, scales


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def clouds(spread, seed=0, classes=4, each=30, dims=24):
    """Return the surface and features of classes as wide as `spread` around their centres."""
    generator = np.random.default_rng(seed)
    labels = np.arange(classes * each) % classes
    views = []
    for _ in range(2):
        centres = generator.normal(size=(classes, dims))
        views.append(centres[labels] + spread * generator.normal(size=(len(labels), dims)))
    return views, labels


def copies(views, rows, noise=0.05, seed=1):
    generator = np.random.default_rng(seed)
    return [view[rows] + noise * generator.normal(size=view[rows].shape) for view in views]


def found(surface, features, labels):
    pairs, _ = confirmed(*candidates(unit(surface), labels), features, labels)
    return {(int(a), int(b)) for a, b in pairs}


@pytest.mark.parametrize("spread", [0.3, 1.0, 3.0])
def test_copies_are_found_and_neighbours_of_a_class_are_not(spread):
    views, labels = clouds(spread)
    rows = np.array([3, 50, 110])
    beyond = copies(views, rows, noise=0.05 * spread)
    surface, features = (np.concatenate(both) for both in zip(views, beyond, strict=True))
    expected = {(row, len(labels) + number) for number, row in enumerate(rows)}
    assert found(surface, features, labels) == expected


def test_both_views_have_to_agree():
    views, labels = clouds(1.0)
    near, far = copies(views, [7], noise=0.6)[0], clouds(1.0, seed=9)[0][1][:1]
    surface, features = np.concatenate([views[0], near]), np.concatenate([views[1], far])
    assert found(surface, features, labels) == set()
    surface, features = np.concatenate([views[0], far]), np.concatenate([views[1], near])
    assert found(surface, features, labels) == set()


def test_a_copy_on_the_surface_counts_whatever_its_features_are():
    """A9: a small picture that is halved is another one to a network, and the same to the eye."""
    views, labels = clouds(1.0)
    surface = np.concatenate([views[0], copies(views, [7])[0]])
    features = np.concatenate([views[1], clouds(1.0, seed=9)[0][1][:1]])
    assert found(surface, features, labels) == {(7, len(labels))}


@pytest.mark.parametrize("label", [0, 1])
def test_two_copies_under_another_label_do_not_hide_each_other(label):
    views, labels = clouds(1.0)
    surface, features = (
        np.concatenate(both) for both in zip(views, copies(views, [0, 0]), strict=True)
    )
    last = len(labels)
    every = {(0, last), (0, last + 1), (last, last + 1)}
    assert found(surface, features, np.append(labels, [label, label])) == every


def test_the_nearest_come_first():
    views, labels = clouds(1.0)
    far, near = copies(views, [4], noise=0.2), copies(views, [9], noise=0.01)
    surface, features = (np.concatenate(each) for each in zip(views, far, near, strict=True))
    pairs, nearness = confirmed(*candidates(unit(surface), labels), features, labels)
    assert pairs.tolist() == [[9, len(labels) + 1], [4, len(labels)]]
    assert nearness[0] < nearness[1]


def test_sparse_rows_give_what_dense_ones_give():
    (surface, _), labels = clouds(0.3)
    dense = unit(surface)
    few = sparse.csr_array(dense)
    np.testing.assert_allclose(scales(few, labels), scales(dense, labels), rtol=1e-6)
    for one, other in zip(candidates(few, labels), candidates(dense, labels), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_one_class_alone_and_few_examples_are_no_error():
    rows = unit(np.random.default_rng(0).normal(size=(3, 5)))
    assert (scales(rows, np.zeros(3, int)) == 1).all()
    assert found(rows, rows, np.array([0, 1, 0])) == set()


@pytest.mark.filterwarnings("error")
def test_an_example_that_stands_many_times_is_no_error():
    (surface, features), labels = clouds(1.0)
    surface[:20], features[:20] = surface[0], features[0]
    pairs, nearness = confirmed(*candidates(unit(surface), labels), features, labels)
    assert np.isfinite(nearness).all()
    assert pairs.max(initial=0) < 20
