"""The laws of contrastive fine-tuning, on an encoder that trains in a blink."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.tasks.classification.train.contrastive import (
    ContrastiveSchedule,
    batches,
    contrast,
    course_for,
    tune,
)
from edgetransfer.tasks.classification.train.lesson import Texts, run_in_groups
from edgetransfer.transfer.machine_settings import Machine

ONE_THREAD = Machine(threads=1, bf16=False)
COURSE = ContrastiveSchedule(epochs=4, learning_rate=0.02, together=4, batch_size=16, seed=3)


class Encoder(nn.Module):
    """Mean of word vectors, turned."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(40, 32)
        self.turn = nn.Linear(32, 8)
        self.widths = []

    def forward(self, ids, mask):
        self.widths.append(ids.shape[1])
        weight = mask[..., None].float()
        return self.turn((self.words(ids) * weight).sum(1) / weight.sum(1))


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return Encoder()


@pytest.fixture
def texts():
    """Three classes of 2 to 20 words, every second of which tells the class."""

    def make(seed=0):
        rng = np.random.default_rng(seed)
        labels = np.arange(36) % 3
        ids, mask = np.zeros((36, 24), np.int64), np.zeros((36, 24), np.int64)
        for row, label in enumerate(labels):
            length = int(rng.integers(2, 21))
            ids[row, :length] = rng.integers(10, 40, length)
            ids[row, :length:2] = 1 + label
            mask[row, :length] = 1
        return Texts.of({"input_ids": ids, "attention_mask": mask}, labels)

    return make


def apart(features, labels):
    """Return the mean cosine within classes less that between them."""
    directions = nn.functional.normalize(features, dim=1)
    cosines = (directions @ directions.T).numpy()
    same = labels[:, None] == labels[None, :]
    return cosines[same].mean() - cosines[~same].mean()


def test_classes_move_apart(encoder, texts):
    """Those that were trained on, and new ones with other words beside the telling ones.

    The loss of a text with 11 partners is log 11 where it cannot tell them from one another and
    nothing else is near: what lies above that is what can be learnt.
    """
    seen, new = texts(), texts(seed=1)

    def look():
        found = []
        for each in (seen, new):
            with torch.no_grad():
                features = run_in_groups(encoder, each, np.arange(36))
            loss = contrast(features, torch.from_numpy(each.labels), COURSE.temperature)
            found.append((float(loss) - math.log(11), apart(features, each.labels)))
        return np.array(found).T

    (losses, gaps), told = look(), []
    course = replace(COURSE, epochs=12, share=1.0)
    tune(encoder, seen, course, ONE_THREAD, progress=lambda *line: told.append(line))
    later_losses, later_gaps = look()
    assert np.all(later_losses < 0.5 * losses)
    assert np.all(later_gaps > gaps + 0.1)
    assert not encoder.training
    assert told == [(step, len(told)) for step in range(1, len(told) + 1)]


def test_word_vectors_stay_and_weights_end_half_way(encoder, texts):
    other = Encoder()
    other.load_state_dict(encoder.state_dict())
    start = {name: value.clone() for name, value in encoder.state_dict().items()}
    tune(encoder, texts(), COURSE, ONE_THREAD)
    tune(other, texts(), replace(COURSE, share=1.0), ONE_THREAD)
    half, whole = encoder.state_dict(), other.state_dict()
    assert torch.equal(half["words.weight"], start["words.weight"])
    middle = (start["turn.weight"] + whole["turn.weight"]) / 2
    assert not torch.equal(whole["turn.weight"], start["turn.weight"])
    torch.testing.assert_close(half["turn.weight"], middle)


def test_with_many_labels_it_is_contrast_alone():
    few, many = (course_for(np.arange(3 * count) % 3) for count in (100, 101))
    assert few == ContrastiveSchedule()
    assert (many.telling, many.adversarial, many.strength, many.names) == (0, 0, 1, False)
    assert replace(many, telling=1.0, adversarial=1.0, strength=0.3, names=True) == few


@pytest.mark.parametrize("field", ["telling", "adversarial"])
def test_every_part_of_the_loss_has_its_say(encoder, texts, field):
    other = copy.deepcopy(encoder)
    tune(encoder, texts(), COURSE, ONE_THREAD)
    tune(other, texts(), replace(COURSE, **{field: 0.0}), ONE_THREAD)
    assert not torch.equal(encoder.turn.weight, other.turn.weight)


def test_a_batch_is_gone_through_twice_unless_words_stay(encoder, texts):
    told = []
    for adversarial in (1.0, 0.0):
        encoder.widths.clear()
        course = replace(COURSE, adversarial=adversarial, telling=0.0)
        tune(encoder, texts(), course, ONE_THREAD)
        told.append(len(encoder.widths) - 2)  # the means of classes take two groups of texts
        assert told[-1] % course.passes == 0
    assert told[0] == 2 * told[1]


def test_a_network_that_looks_nothing_up_is_trained_all_the_same(texts):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.turn = nn.Linear(40, 8)

        def forward(self, ids, mask):
            words = nn.functional.one_hot(ids, 40).float() * mask[..., None]
            return self.turn(words.sum(1) / mask.sum(1, keepdim=True))

    torch.manual_seed(0)
    losses = tune(Counts(), texts(), replace(COURSE, epochs=16), ONE_THREAD)
    assert losses[-1] < losses[0]


def test_the_same_seed_gives_the_same_weights(texts):
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        encoder = Encoder()
        tune(encoder, texts(), COURSE, ONE_THREAD)
        results.append(encoder.turn.weight.detach())
    assert torch.equal(*results)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_gpu_comes_to_what_the_cpu_does(encoder, texts):
    other = copy.deepcopy(encoder)
    losses = tune(encoder, texts(), COURSE, ONE_THREAD)
    there = tune(other, texts(), COURSE, replace(ONE_THREAD, device="cuda"))
    assert there == pytest.approx(losses, rel=1e-3)
    torch.testing.assert_close(other.turn.weight, encoder.turn.weight, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("together", [2, 3, 4])
def test_an_epoch_shows_every_text_once_in_handfuls_of_its_class(together):
    labels = np.repeat([0, 1, 2], [5, 9, 4])
    course = ContrastiveSchedule(together=together, batch_size=8)
    shown = list(batches(labels, course, np.random.default_rng(1)))
    assert sorted(np.concatenate(shown).tolist()) == list(range(18))
    for rows in shown:
        counts = np.bincount(labels[rows])
        assert counts[counts > 0].min() >= 2


def test_a_class_of_one_text_is_its_own_partner():
    rows = np.concatenate(
        list(batches(np.array([0, 1, 1]), ContrastiveSchedule(), np.random.default_rng(0)))
    )
    assert sorted(rows.tolist()) == [0, 0, 1, 2]


def test_a_batch_without_partners_has_no_loss_and_a_finite_gradient():
    features = torch.eye(3, requires_grad=True)
    loss = contrast(features, torch.arange(3), temperature=0.1)
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert torch.isfinite(features.grad).all()


def test_the_loss_does_not_depend_on_lengths_or_order():
    torch.manual_seed(0)
    features, labels = torch.randn(12, 5), torch.arange(12) % 3
    order = torch.randperm(12)
    scaled = features * torch.rand(12, 1).add(0.5)
    loss = contrast(features, labels, 0.1)
    torch.testing.assert_close(contrast(scaled[order], labels[order], 0.1), loss)


def test_groups_change_nothing_but_the_width(encoder, texts):
    texts, rows = texts(), np.random.default_rng(2).permutation(36)
    inputs = [torch.from_numpy(array[rows]) for array in texts.inputs]
    with torch.no_grad():
        whole = encoder(*inputs)
        encoder.widths.clear()
        torch.testing.assert_close(run_in_groups(encoder, texts, rows), whole)
    assert encoder.widths == [24, 24]
    assert texts.batch(np.flatnonzero(texts.lengths <= 8))[0][0].shape[1] == 8
