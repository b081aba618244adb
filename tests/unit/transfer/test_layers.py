"""The laws of low-rank adapters, on an attention that trains in a blink."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.backbone.model import LinearHead
from edgetransfer.tasks.classification.train.finetune import finetune
from edgetransfer.tasks.classification.train.layers import (
    Classifier,
    LowRank,
    adapted,
    adapter_groups,
    projections,
)
from edgetransfer.tasks.classification.train.lesson import (
    CrossEntropy,
    Lesson,
    Schedule,
    Technique,
    Texts,
)
from edgetransfer.transfer.machine_settings import Machine

ONE_THREAD = Machine(threads=1, bf16=False)


class Attention(nn.Module):
    """One head over word vectors, and their mean."""

    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(40, 8)
        self.query, self.key, self.value = (nn.Linear(8, 8) for _ in range(3))

    def forward(self, ids, mask):
        words, weight = self.words(ids), mask[..., None].float()
        parts = (layer(words)[:, None] for layer in (self.query, self.key, self.value))
        seen = nn.functional.scaled_dot_product_attention(*parts, attn_mask=mask[:, None, None] > 0)
        return ((words + seen[:, 0]) * weight).sum(1) / weight.sum(1)


@pytest.fixture
def network():
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    head = LinearHead(generator.normal(size=(3, 8)).astype(np.float32), np.zeros(3, np.float32))
    return Classifier(Attention(), head).eval()


def texts(count, seed=0):
    """Words of one's own for every class, among common ones."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    ids = generator.integers(1, 40, (count, 6))
    ids[:, :2] = 1 + 4 * labels[:, None] + generator.integers(0, 4, (count, 2))
    mask = np.arange(6) < generator.integers(3, 7, (count, 1))
    return Texts.of({"input_ids": ids * mask, "attention_mask": mask.astype(np.int64)}, labels)


def trained(network, **technique):
    lesson = Lesson(texts(48), texts(30, seed=1), CrossEntropy())
    schedule = Schedule(8, 0.05, 8, 3, Technique(rank=2, **technique))
    return finetune(network, lesson, schedule, ONE_THREAD)


def randomise(network):
    for module in network.modules():
        if isinstance(module, LowRank):
            nn.init.normal_(module.up)


def test_query_and_value_are_found_from_the_input_up(network):
    names = {id(module): name for name, module in network.network.named_modules()}
    assert [names[id(each)] for each in projections(network.network)] == ["query", "value"]
    assert projections(nn.Sequential(nn.Linear(3, 3), nn.Conv2d(3, 3, 1))) == []


def test_nothing_changes_before_the_first_step(network, weights):
    before = weights(network)
    inputs, _ = texts(6).batch(np.arange(6))
    with torch.no_grad():
        said = network(*inputs)
        with adapted(network, rank=2, seed=0):
            assert torch.equal(network(*inputs), said)
    after = weights(network)
    assert list(after) == list(before)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_merged_weights_say_what_the_adapted_network_said(network, weights):
    before = weights(network)
    inputs, _ = texts(6).batch(np.arange(6))
    with torch.no_grad():
        with adapted(network, rank=2, seed=0):
            randomise(network)
            said = network(*inputs)
        merged = network(*inputs)
    torch.testing.assert_close(merged, said, rtol=1e-5, atol=1e-5)
    after = weights(network)
    assert list(after) == list(before)
    update = after["network.query.weight"] - before["network.query.weight"]
    assert torch.linalg.matrix_rank(update, atol=1e-4) == 2
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any("Parametrized" in type(each).__name__ for each in network.modules())


def test_a_failure_leaves_the_network_as_it_was_built(network):
    before = list(network.state_dict())
    with pytest.raises(ZeroDivisionError), adapted(network, rank=2, seed=0):
        raise ZeroDivisionError
    assert list(network.state_dict()) == before


def test_what_has_no_gradient_of_its_own_gets_none(network):
    network.network.words.weight.requires_grad_(False)
    with adapted(network, rank=2, seed=0):
        learning = {name for name, each in network.named_parameters() if each.requires_grad}
    assert {name.rpartition(".")[2] for name in learning} == {"down", "up", "weight", "bias"}
    assert {name for name in learning if "parametrizations" not in name} == {
        "head.weight",
        "head.bias",
    }
    assert not network.network.words.weight.requires_grad
    assert network.network.query.weight.requires_grad


def test_rates_are_relative_to_the_weight_that_is_added_to(network):
    size = float(network.network.query.weight.detach().square().mean().sqrt())
    with adapted(network, rank=2, seed=0):
        groups = adapter_groups(network, 0.1)
        first = network.network.query.parametrizations.weight[0]
        rates = {id(group["params"][0]): group["lr"] for group in groups}
        assert len(groups) == 2 * 2 + 2
        assert rates[id(first.up)] == pytest.approx(0.1 * size * math.sqrt(8 / 2))
        assert rates[id(first.down)] == pytest.approx(
            0.1 * float(first.down.detach().square().mean().sqrt())
        )


@pytest.mark.parametrize("technique", [{}, {"averaging": 0.5}, {"l2_sp": 0.1}])
def test_training_moves_query_value_and_head_alone(network, weights, technique):
    before = weights(network)
    tuned = trained(network, **technique)
    assert tuned.best_epoch > 0
    losses = [loss for loss, _ in tuned.history]
    assert min(losses) < losses[0]
    after = weights(network)
    assert {name for name in before if not torch.equal(before[name], after[name])} == {
        "network.query.weight", "network.value.weight", "head.weight", "head.bias",
    }  # fmt: skip
    validation = texts(30, seed=1)
    with torch.no_grad():
        said = network(*validation.batch(np.arange(30))[0]).numpy()
    np.testing.assert_allclose(said, tuned.said[tuned.best_epoch], rtol=1e-4, atol=1e-4)


def test_the_same_seed_gives_the_same_weights(network, weights):
    first = copy.deepcopy(network)
    trained(first)
    torch.manual_seed(5)  # of no consequence
    trained(network)
    one, other = weights(first), weights(network)
    assert all(torch.equal(one[name], other[name]) for name in one)
