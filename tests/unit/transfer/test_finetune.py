"""The laws of fine-tuning, on a network that trains in a blink."""

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.transfer.finetune import (
    PATIENCE,
    Machine,
    Schedule,
    finetune,
    jitter,
    parameter_groups,
)

ONE_THREAD = Machine(threads=1, bf16=False)
SCHEDULE = Schedule(epochs=4, learning_rate=0.02, batch_size=8, seed=3)
HOPELESS = Schedule(epochs=30, learning_rate=1e6, batch_size=8, seed=3)


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns(network, examples):
    classifier = network()
    told = []
    tuned = finetune(
        classifier,
        examples(48),
        examples(30, seed=1),
        Schedule(epochs=8, learning_rate=0.05, batch_size=8, seed=3),
        ONE_THREAD,
        progress=lambda *line: told.append(line),
    )
    losses = [loss for loss, _ in tuned.history]
    assert tuned.best_epoch == int(np.argmin(losses)) > 0
    assert min(losses) < 0.8 * losses[0]
    assert not classifier.training
    assert told == [(step, 8 * 6) for step in range(1, 6 * (len(losses) - 1) + 1)]


def test_the_weights_are_those_of_the_best_epoch(network, examples):
    classifier, validation = network(), examples(30, seed=1)
    tuned = finetune(classifier, examples(24), validation, SCHEDULE, ONE_THREAD)
    with torch.no_grad():
        logits = classifier(torch.from_numpy(validation.inputs[0]))
    loss = nn.functional.cross_entropy(logits, torch.from_numpy(validation.labels))
    assert float(loss) == pytest.approx(tuned.history[tuned.best_epoch][0], rel=1e-4)


def test_the_same_seed_gives_the_same_weights(network, examples, weights):
    results = []
    for seed in (3, 3, 4):
        classifier = network()
        torch.manual_seed(len(results))  # of no consequence
        schedule = Schedule(2, 0.02, 8, seed)
        finetune(classifier, examples(24), examples(12, seed=1), schedule, ONE_THREAD)
        results.append(weights(classifier))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_same_seed_draws_the_same_dropout(network, examples, weights):
    results = []
    for state in range(2):
        classifier = network(nn.Dropout(0.3))
        torch.manual_seed(state)
        finetune(classifier, examples(24), examples(12, seed=1), SCHEDULE, ONE_THREAD)
        results.append(weights(classifier))
    assert same(*results)


def test_batch_norms_keep_their_statistics(network, examples, weights):
    classifier = network()
    before = weights(classifier)
    tuned = finetune(classifier, examples(24), examples(12, seed=1), SCHEDULE, ONE_THREAD)
    assert tuned.best_epoch > 0
    after = weights(classifier)
    statistics = [name for name in before if "running" in name or "batches" in name]
    assert len(statistics) == 6
    assert all(torch.equal(before[name], after[name]) for name in statistics)
    trained = [name for name in before if name not in statistics]
    assert all(not torch.equal(before[name], after[name]) for name in trained)


def test_what_only_gets_worse_ends_with_the_probe(network, examples, weights):
    classifier = network()
    before = weights(classifier)
    tuned = finetune(classifier, examples(24), examples(12, seed=1), HOPELESS, ONE_THREAD)
    assert tuned.best_epoch == 0
    assert len(tuned.history) == 1 + PATIENCE
    assert same(before, weights(classifier))


def test_threads_are_set_back(network, examples):
    torch.set_num_threads(1)
    schedule = Schedule(1, 0.01, 8, 0)
    finetune(network(), examples(8), examples(8), schedule, Machine(threads=2, bf16=False))
    assert torch.get_num_threads() == 1


def test_bf16_is_close_to_float(network, examples):
    results = [
        finetune(
            network(), examples(24), examples(12, seed=1), SCHEDULE, Machine(threads=1, bf16=each)
        )
        for each in (False, True)
    ]
    losses = [[loss for loss, _ in tuned.history] for tuned in results]
    np.testing.assert_allclose(*losses, atol=0.1)


def test_layers_learn_slower_towards_the_input(network):
    classifier = network()
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.copy_(torch.ones_like(parameter))
    groups = parameter_groups(classifier, 0.01)
    parameters = [group["params"][0] for group in groups]
    names = {id(parameter): name for name, parameter in classifier.named_parameters()}
    assert [names[id(parameter)] for parameter in parameters] == list(names.values())
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1] == pytest.approx(0.01)


def test_only_matrices_and_filters_decay(network):
    for group in parameter_groups(network(), 0.01):
        (parameter,) = group["params"]
        assert (group["weight_decay"] > 0) == (parameter.ndim > 1)


def test_a_layer_of_small_weights_takes_small_steps(network):
    """Adam's step does not depend on the size of what it changes."""
    large, small = network(), network()
    with torch.no_grad():
        small.network[0].weight.mul_(0.1)
    rates = [parameter_groups(each, 0.01)[0]["lr"] for each in (large, small)]
    assert rates[0] == pytest.approx(10 * rates[1], rel=1e-4)


@pytest.fixture
def pictures():
    return torch.rand(6, 3, 16, 20, generator=torch.Generator().manual_seed(0))


def test_jitter_keeps_the_shape_and_follows_its_seed(pictures):
    once, again, other = (
        jitter(pictures, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert (once.shape, once.dtype) == (pictures.shape, pictures.dtype)
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_jitter_moves_every_picture_by_its_own_amount(pictures):
    equal = pictures[:1].expand(6, -1, -1, -1).contiguous()
    moved = jitter(equal, torch.Generator().manual_seed(0))
    assert all(not torch.equal(moved[0], other) for other in moved[1:])


def test_jitter_invents_no_colours(pictures):
    flat = torch.full((2, 3, 16, 16), 0.4)
    generator = torch.Generator().manual_seed(0)
    torch.testing.assert_close(jitter(flat, generator), flat)
    moved = jitter(pictures, generator)
    assert pictures.min() <= moved.min() < moved.max() <= pictures.max()


def test_jitter_is_small(pictures):
    """A bright bar in the middle stays near the middle, and is not mirrored."""
    bar = torch.zeros(8, 1, 32, 32)
    bar[..., 10:14] = 1.0
    moved = jitter(bar, torch.Generator().manual_seed(0))
    columns = torch.arange(32.0)
    centres = (moved.mean(dim=(1, 2)) * columns).sum(1) / moved.mean(dim=(1, 2)).sum(1)
    assert ((centres - 11.5).abs() < 0.2 * 16).all()
