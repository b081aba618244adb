"""Batch norms give device pictures the statistics that labelled ones had."""

import pytest
import torch
from torch import nn

from edgetransfer.tasks.classification.head.shift import batch_norms, renormalise


@pytest.fixture
def network():
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 1),
        nn.BatchNorm2d(5),
    ]
    made = nn.Sequential(*layers).eval()
    for norm in batch_norms(made):
        norm.running_mean.uniform_(-1, 1)
        norm.running_var.uniform_(0.5, 2)
    return made


def moments(network, pictures):
    out = network(pictures).detach()
    return torch.stack([out.mean(dim=(0, 2, 3)), out.std(dim=(0, 2, 3))])


def test_device_pictures_come_out_as_labelled_ones_did(network):
    labelled, device = 5 * torch.rand(32, 3, 8, 8), 2 * torch.rand(32, 3, 8, 8) + 9
    fresh = renormalise(network, labelled, device, prior=0)
    assert torch.allclose(moments(fresh, device), moments(network, labelled), atol=1e-3)
    assert not torch.allclose(moments(network, device), moments(network, labelled), atol=1e-1)


def test_the_same_pictures_change_nothing(network):
    pictures = torch.rand(8, 3, 8, 8)
    fresh = renormalise(network, pictures, pictures)
    assert torch.allclose(fresh(pictures), network(pictures), atol=1e-5)


def test_the_network_itself_stays_as_it_was(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    renormalise(network, torch.rand(8, 3, 8, 8), 5 * torch.rand(8, 3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_few_pictures_move_it_less(network):
    labelled, device = 5 * torch.rand(32, 3, 8, 8), 2 * torch.rand(32, 3, 8, 8) + 9
    there = network(device)
    far = (renormalise(network, labelled, device, prior=0)(device) - there).norm()
    near = (renormalise(network, labelled, device, prior=500)(device) - there).norm()
    assert near < far / 2
