"""Networks drawn anew."""

import numpy as np
import pytest
import torch
from torch import nn

from edgetransfer.backbone.builtin import TINY_64, MobileNetV2
from edgetransfer.transfer.study.baselines import drawn_anew

torch.set_num_threads(1)


class Frozen(nn.Module):
    """A batch norm whose four parts are buffers, as detection backbones have it."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("weight", torch.full((channels,), 3.0))
        self.register_buffer("bias", torch.full((channels,), 2.0))
        self.register_buffer("running_mean", torch.full((channels,), 5.0))
        self.register_buffer("running_var", torch.full((channels,), 0.1))

    def forward(self, x):
        scale = self.weight * self.running_var.rsqrt()
        shift = self.bias - self.running_mean * scale
        return x * scale.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


class Tokens(nn.Module):
    """Parameters that no layer of torch draws."""

    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.full((1, 4, 8), 9.0))
        self.weight = nn.Parameter(torch.full((8,), 9.0))
        self.bias = nn.Parameter(torch.full((8,), 9.0))

    def forward(self, x):
        return (
            x.flatten(1).mean(dim=1)[:, None, None] * self.weight + self.token + self.bias
        ).mean(1)


def folded(depth=30):
    """A deep network without norms, as after folding them."""
    layers = [nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))


NETWORKS = {
    "built-in": lambda: MobileNetV2(TINY_64),
    "folded": folded,
    "frozen norms": lambda: nn.Sequential(nn.Conv2d(3, 8, 3), Frozen(8), nn.Flatten(2)),
    "transposed": lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ConvTranspose2d(4, 6, 3)),
    "tokens": Tokens,
}


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(0)
    return [[torch.randn(16, 3, 32, 32, generator=generator)] for _ in range(2)]


@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_finite_and_of_sensible_size(name, batches):
    torch.manual_seed(1)
    fresh = drawn_anew(NETWORKS[name](), batches, seed=0)
    with torch.no_grad():
        output = fresh(*batches[0])
    assert torch.isfinite(output).all()
    assert 1e-3 < float(output.std()) < 30
    assert not fresh.training


def test_nothing_learnt_is_left(batches):
    network = MobileNetV2(TINY_64).eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    fresh = drawn_anew(network, batches, seed=0)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    same = [name for name, value in fresh.named_parameters() if torch.equal(value, before[name])]
    assert all(name.endswith(("norm.weight", "norm.bias")) for name in same)  # the identity


def test_parameters_of_no_layer_are_drawn_too(batches):
    fresh = drawn_anew(Tokens(), batches, seed=0)
    assert float(fresh.token.detach().abs().max()) < 0.2
    assert fresh.weight.tolist() == [1.0] * 8
    assert fresh.bias.tolist() == [0.0] * 8


def test_it_depends_on_the_seed_alone(batches):
    network = MobileNetV2(TINY_64)
    first = drawn_anew(network, batches, seed=3)
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    again, other = (drawn_anew(network, batches, seed=seed) for seed in (3, 4))
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.no_grad():
        outputs = [each.eval()(*batches[0]).numpy() for each in (first, again, other)]
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert np.abs(outputs[0] - outputs[2]).max() > 0.01


def test_batch_norms_have_the_statistics_of_the_data(batches):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    network[1].running_var.fill_(1e6)
    fresh = drawn_anew(network, batches, seed=0)
    with torch.no_grad():
        output = fresh(torch.cat([inputs[0] for inputs in batches]))
    assert float(output.mean(dim=(0, 2, 3)).abs().max()) < 0.02
    assert float((output.std(dim=(0, 2, 3)) - 1).abs().max()) < 0.02
    assert fresh[1].momentum == network[1].momentum
