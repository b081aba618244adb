"""Fused, a network gives the same features and its parameters the same gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgetransfer.transfer.machine_settings import Fusing, fusible


class Net(nn.Module):
    """A convolution between paddings of every kind, its norm, and what else may ask for it."""

    def __init__(self, way, **conv):
        super().__init__()
        self.way = way
        self.conv = nn.Conv2d(4, 4, 3, **conv)
        self.norm = nn.BatchNorm2d(4)
        self.calls = []

    def forward(self, x):
        return self.way(self, x)


def padded(by, mode="constant", value=0.0):
    return lambda net, x: net.norm(net.conv(functional.pad(x, by, mode, value)))


def asked_twice(net, x):
    y = net.conv(x)
    return net.norm(y) + y.mean()


def asks_sizes(net, x):
    y = net.conv(functional.pad(x, (1, 1, 1, 1)))
    assert y.shape == (*x.shape[:2], y.size(2), y.size()[3])
    assert y.dim() == y.ndim == 4
    return net.norm(y).flatten(1) / y.shape[-1]


def without_gradients(net, x):
    with torch.no_grad():
        y = net.conv(x)
    return net.norm(y)


def calls_by_name(net, x):
    y = functional.conv2d(input=x, weight=net.conv.weight, groups=net.conv.groups, stride=2)
    return functional.batch_norm(y, net.norm.running_mean, net.norm.running_var)


def ends_in_convolution(net, x):
    return net.conv(net.norm(x))


WAYS = {
    "padding by nothing": padded((0, 0, 0, 0)),
    "both sides alike": padded((1, 1, 2, 2)),
    "one side": padded((0, 1, 0, 1)),
    "reflected": padded((1, 1, 1, 1), "reflect"),
    "with ones": padded((1, 1, 1, 1), value=1.0),
    "cropped": padded((-1, -1, -1, -1)),
    "asked twice": asked_twice,
    "asks sizes": asks_sizes,
    "without gradients": without_gradients,
    "calls by name": calls_by_name,
    "ends in a convolution": ends_in_convolution,
}
CONVS = [{}, {"bias": False, "stride": 2}, {"groups": 2, "dilation": (1, 2)}, {"padding": "same"}]


def made(way, **conv):
    torch.manual_seed(0)
    network = Net(way, **conv).eval()
    for tensor in network.norm.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.5, 2.0)
    return network


def learnt(network, inputs, context):
    network.zero_grad()
    with context:
        found = network(inputs)
        found.square().sum().backward()
    return [found.detach(), *(each.grad for each in network.parameters())]


@pytest.mark.parametrize("conv", CONVS, ids=str)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_features_and_gradients_are_the_same(way, conv):
    network = made(way, **conv)
    inputs = torch.randn(2, 4, 9, 8)
    plain = learnt(network, inputs, torch.enable_grad())
    fused = learnt(network, inputs, Fusing())
    assert fusible(network, [inputs])
    for expected, found in zip(plain, fused, strict=True):
        assert (expected is None) == (found is None)
        if expected is not None:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def calls_of(network, inputs):
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen, Fusing():
        network(inputs)
    return {event.key for event in seen.key_averages()}


def test_a_frozen_norm_and_a_padding_are_no_passes_of_their_own():
    names = calls_of(made(padded((1, 1, 1, 1))), torch.randn(2, 4, 8, 8))
    assert "aten::conv2d" in names
    assert names.isdisjoint({"aten::batch_norm", "aten::constant_pad_nd", "aten::pad"})


def test_a_norm_that_learns_its_statistics_is_left_alone():
    network = made(padded((1, 1, 1, 1))).train()
    before = network.norm.running_mean.clone()
    assert "aten::batch_norm" in calls_of(network, torch.randn(2, 4, 8, 8))
    assert not torch.equal(network.norm.running_mean, before)


def test_bfloat16_is_kept():
    network, inputs = made(padded((1, 1, 1, 1))), torch.randn(2, 4, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16), Fusing():
        found = network(inputs)
        assert network.conv(inputs).dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), network(inputs), rtol=0.05, atol=0.05)


def changes_its_input(net, x):
    y = net.conv(x)
    x.add_(1.0)
    return net.norm(y)


def counts_its_calls(net, x):
    net.calls.append(x)
    return net.norm(net.conv(x)) * (1 + len(net.calls))


@pytest.mark.parametrize("way", [changes_its_input, counts_its_calls])
def test_a_network_that_does_not_stay_the_same_is_not_fused(way):
    assert not fusible(made(way), [torch.randn(2, 4, 8, 8)])


def test_a_network_without_norms_is_not_tried():
    network = made(lambda net, x: net.calls.append(x) or net.conv(x))
    network.norm = nn.Identity()
    assert not fusible(network, [torch.randn(2, 4, 8, 8)])
    assert network.calls == []
