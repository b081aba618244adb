"""One more row from kept means and spread."""

import numpy as np

from edgetransfer.transfer.new_class import expected_accuracy, fit_row, measure_statistics
from edgetransfer.transfer.probe import fit_at


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
