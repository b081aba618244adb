"""The laws of moving word vectors the way that hurts most."""

import pytest
import torch
from torch import nn

from edgetransfer.tasks.classification.train.contrastive import WorstWords


class Sum(nn.Module):
    """Sum of word vectors and of place vectors, weighed by what each column is worth."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.places = nn.Embedding(4, 3)
        self.words = nn.Embedding(20, 3)
        self.worth = nn.Parameter(torch.tensor([3.0, 4.0, 0.0]))

    def forward(self, ids):
        return (self.words(ids) + self.places(torch.arange(ids.shape[1]))).sum(1) @ self.worth


IDS = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])


def two_passes(network, words, ids=IDS):
    with words.watched():
        before = network(ids)
        before.sum().backward()
    with words.moved():
        after = network(ids)
    return before.detach(), after


def test_words_move_along_the_gradient_by_a_multiple_of_their_length():
    """Every word's gradient is (3, 4, 0): over four words its length is 10, and the loss grows by
    the length of the step times that."""
    network = Sum()
    before, after = two_passes(network, WorstWords(network, 0.5))
    step = 0.5 * network.words(IDS).norm(dim=2).mean()
    torch.testing.assert_close(after - before, (10 * step).expand(2))


def test_the_tables_learn_nothing_and_the_rest_learns_from_both_passes():
    network = Sum()
    _, after = two_passes(network, WorstWords(network, 0.5))
    once = network.worth.grad.clone()
    after.sum().backward()
    assert network.words.weight.grad is None
    assert network.places.weight.grad is not None  # another table than that of the words
    assert not torch.equal(network.worth.grad, 2 * once)
    assert (network.worth.grad[:2] > 2 * once[:2]).all()


def test_groups_of_a_pass_meet_their_own_steps():
    network = Sum()
    whole, words = WorstWords(network, 1.0), WorstWords(network, 1.0)
    network.words.weight.data[5:9] *= 100  # the second text's vectors are longer
    parts = [IDS[:1], IDS[1:]]
    with words.watched():
        sum(network(part).sum() for part in parts).backward()
    with words.moved():
        moved = [network(part) for part in parts]
    for part, after in zip(parts, moved, strict=True):
        torch.testing.assert_close(after, two_passes(network, whole, part)[1])


def test_outside_of_its_passes_the_network_is_as_it_was():
    network = Sum()
    plain = network(IDS)
    words = WorstWords(network, 2.0)
    with pytest.raises(KeyError), words.watched():
        raise KeyError
    two_passes(network, words)
    assert torch.equal(network(IDS), plain)
    assert not network.words._forward_hooks


def test_without_a_table_or_a_size_nothing_moves():
    assert not WorstWords(nn.Linear(2, 2), 1.0).moves
    assert not WorstWords(Sum(), 0.0).moves
    assert WorstWords(Sum(), 1.0).moves
