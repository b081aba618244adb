"""Domains are told apart by fits that did not see the example; weights stay bounded."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edgetransfer.measure.stats.intervals import area
from edgetransfer.tasks.classification.head.linear_heads import Known
from edgetransfer.tasks.classification.head.probe import fit_probe
from edgetransfer.tasks.classification.head.shift import (
    COVARIANCE_PRIOR,
    EFFECTIVE,
    LARGEST,
    RIDGE,
    domain_scores,
    fit_alignment,
    weigh,
)


def test_one_domain_is_not_told_from_itself():
    rows = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    found = domain_scores(rows[:100], rows[100:])
    low, high = area(found[100:], found[:100]).ci95
    assert low < 0.5 < high


def test_what_lies_apart_is_told_apart():
    rows = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    rows[100:, 0] += 3
    found = domain_scores(rows[:100], rows[100:])
    assert area(found[100:], found[:100]).ci95[0] > 0.9


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(-500, 500)))
def test_weights_are_bounded_and_average_one(log_odds):
    found = weigh(log_odds)
    assert np.isclose(found.values.mean(), 1.0, rtol=1e-4)
    assert found.values.min() >= 0
    assert found.values.max() <= LARGEST * len(log_odds)
    assert found.effective >= EFFECTIVE * len(log_odds) * 0.999
    order = np.argsort(log_odds)
    assert (np.diff(found.values[order]) >= -1e-6).all()


def test_weights_of_one_change_nothing_and_others_do():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(40, 3)).astype(np.float32), np.tile([0, 1], 20)
    rows[:, 0] += labels
    counts = np.ones(40)
    counts[:4] = 5.0
    counts /= counts.mean()
    head = fit_probe(rows, labels, known=Known(weights=np.ones(40))).head
    plain = fit_probe(rows, labels).head
    assert np.allclose(head.weight, plain.weight)
    heavy = fit_probe(rows, labels, known=Known(weights=counts)).head
    assert not np.allclose(heavy.weight, plain.weight, atol=1e-3)


def test_aligned_features_take_the_devices_mean_and_by_the_ridge_its_spread():
    """Of uncorrelated features each is whitened and coloured by itself (Sun et al. 2016)."""
    rng = np.random.default_rng(0)
    labelled = rng.normal(size=(9000, 4)) * [1, 1, 3, 3]
    device = rng.normal(size=(9000, 4)) * [3, 3, 1, 1] + [5, 0, 0, -5]
    moved = fit_alignment(labelled, device).move(labelled)
    assert np.allclose(moved.mean(axis=0), device.mean(axis=0), atol=0.3)
    own, other = (rows.var(axis=0) for rows in (labelled, device))
    seen, ridge = len(device) / (len(device) + COVARIANCE_PRIOR), RIDGE * own.mean()
    wanted = own * (seen * other + (1 - seen) * own + ridge) / (own + ridge)
    assert np.allclose(moved.var(axis=0), wanted, rtol=0.05)
    assert np.allclose(fit_alignment(labelled, labelled).move(labelled), labelled, atol=1e-5)
