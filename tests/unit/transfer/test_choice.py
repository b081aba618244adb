"""Evidence for a rate, and for fine-tuning at all."""

import numpy as np
import pytest

from edgetransfer.transfer import choice
from edgetransfer.transfer.choice import RATES, epochs_within, gain, race
from edgetransfer.transfer.lesson import Lesson
from edgetransfer.transfer.schedule import Machine, Schedule

SCHEDULE = Schedule(epochs=12, learning_rate=1e-3, batch_size=8, seed=0)


def decisions(right, labels, sure=3.0):
    """Logits that are right where they are told to be."""
    said = np.where(right, labels, 1 - labels)
    return sure * np.eye(2, dtype=np.float32)[said]


def test_a_clear_gain_is_proven():
    labels = np.arange(60) % 2
    before, after = decisions(np.arange(60) % 3 > 0, labels), decisions(np.ones(60, bool), labels)
    found = gain(before, after, labels, seed=0)
    assert found.proven
    assert found.accuracy == pytest.approx(1 / 3)
    assert found.mean == pytest.approx(1.0, abs=1e-6)  # a third of the examples lose 3 nats
    assert found.ci95[0] < found.mean < found.ci95[1]


def test_the_reverse_is_a_loss_of_the_same_size():
    labels = np.arange(60) % 2
    one, other = decisions(np.arange(60) % 3 > 0, labels), decisions(np.ones(60, bool), labels)
    forth, back = gain(one, other, labels, 0), gain(other, one, labels, 0)
    assert (back.mean, back.accuracy) == (-forth.mean, -forth.accuracy)
    assert not back.proven


def test_a_few_mended_examples_prove_nothing():
    labels = np.arange(60) % 2
    before = decisions(np.arange(60) > 2, labels)
    after = decisions((np.arange(60) > 1) & (np.arange(60) != 40), labels)
    assert not gain(before, after, labels, seed=0).proven


def test_confidence_that_costs_accuracy_is_no_gain():
    labels = np.arange(60) % 2
    right = np.ones(60, bool)
    right[0] = False
    found = gain(decisions(~np.zeros(60, bool), labels, 0.1), decisions(right, labels), labels, 0)
    assert found.mean > 0 > found.accuracy
    assert not found.proven


def test_the_race_leaves_the_network_as_it_was_and_finds_a_rate_that_learns(
    network, examples, weights, monkeypatch
):
    classifier = network()
    before = weights(classifier)
    told = []
    monkeypatch.setattr(choice, "RATES", (1e-6, 0.03, 1e4))
    losses = race(
        classifier,
        Lesson(examples(48), examples(30, seed=1)),
        SCHEDULE,
        Machine(1, bf16=False),
        progress=lambda *line: told.append(line),
    )
    assert min(losses, key=losses.get) == 0.03
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert all((before[name] == value).all() for name, value in weights(classifier).items())


def test_rates_are_tried_from_the_safe_one_up():
    assert list(RATES) == sorted(RATES)


@pytest.mark.parametrize(("seconds", "epochs"), [(1e9, 12), (10.0, 5), (1.0, 0), (-9.0, 0)])
def test_epochs_fit_the_time(seconds, epochs):
    assert epochs_within(seconds, SCHEDULE, step_seconds=0.5, rows=30) == epochs
