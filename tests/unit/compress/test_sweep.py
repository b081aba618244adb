"""Weights times columns are the outputs of a layer."""

import numpy as np
import pytest
import torch
from onnx import helper

from edgetransfer.compress import execution, rounding, sweep
from edgetransfer.compress.columns import (
    FEWEST_POSITIONS,
    FloatColumns,
    columns,
    draw,
    groups_of,
    positions,
)
from edgetransfer.compress.encoding import Grid
from edgetransfer.compress.observe import Channels
from edgetransfer.compress.rounding import second_order
from edgetransfer.compress.stream import SpillBuffer
from edgetransfer.compress.sweep import BatchMoments, MomentSums
from edgetransfer.errors import NumericalError

RNG = np.random.default_rng(0)
PLACES = 64
PLAIN = Grid(1.0, 0, -128, 127)
PLAIN = Grid(1.0, 0, -128, 127)
CONVS = {
    "plain": ((4, 3, 3, 3), (3, 7, 6), {}),
    "padded": ((4, 3, 3, 3), (3, 7, 6), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
    "asymmetric": ((4, 3, 3, 2), (3, 7, 6), {"pads": [0, 1, 2, 0], "strides": [2, 1]}),
    "dilated": ((4, 3, 3, 3), (3, 9, 8), {"dilations": [2, 3], "pads": [0, 2, 1, 1]}),
    "grouped": ((6, 2, 3, 3), (4, 5, 5), {"group": 2}),
    "depthwise": ((4, 1, 3, 3), (4, 5, 5), {"group": 4, "pads": [1, 1, 1, 1]}),
    "line": ((4, 3, 3), (3, 9), {"strides": [2], "pads": [1, 0]}),
}


def layer_of(build, opened, weights, shape, **attributes):
    """The only layer of a graph, and its kind."""
    kind = attributes.pop("kind", "Conv")
    node = helper.make_node(kind, ["input", "w"], ["logits"], **attributes)
    output = ["batch", *[None] * (len(shape) if kind != "Gemm" else 1)]
    _, layout = opened(build([node], {"w": weights}, ["batch", *shape], output))
    return layout.layers[0]


@pytest.fixture(params=[False, True], ids=["floats", "integers"], autouse=True)
def multiplied(request, monkeypatch):
    """Both ways to multiply, whatever this machine is faster with."""
    monkeypatch.setattr(sweep, "_multiplies_integers", lambda: request.param)
    return request.param


def looked_at(layer, x, places=PLACES):
    """The columns of a batch."""
    return columns(layer, x, draw(layer, x.shape, places, torch.Generator().manual_seed(0)))


def floats_as_seen(layer):
    """No offsets, and factors of 1."""
    shape = groups_of(layer), layer.weights()[0].size, 1
    return torch.zeros(shape, dtype=torch.double), torch.ones(shape, dtype=torch.double)


def seen(layer, floats, quantised, grid=PLAIN):
    """The moments of one batch whose codes are given."""
    pair = [looked_at(layer, x) for x in (floats, quantised)]
    return BatchMoments.of(layer, [pair], grid, floats_as_seen(layer))


def by_position(output, groups):
    """Outputs [N, C, ...] as [G, C / G, positions of all examples], in order."""
    stacked = output.flatten(2) if output.ndim > 2 else output[..., None]
    return stacked.transpose(0, 1).reshape(groups, len(stacked[0]) // groups, -1)


@pytest.mark.parametrize("name", CONVS)
def test_convolutions(build, opened, name):
    size, shape, attributes = CONVS[name]
    weights = RNG.normal(size=size).astype(np.float32)
    layer = layer_of(build, opened, weights, shape, **attributes)
    x = torch.from_numpy(RNG.normal(size=(2, *shape)).astype(np.float32))
    found = looked_at(layer, x)
    groups = groups_of(layer)
    assert found.shape[:2] == (groups, np.prod(size[1:]))
    got = torch.from_numpy(weights).reshape(groups, size[0] // groups, -1) @ found
    (output,) = execution.apply(layer.node, [x, torch.from_numpy(weights), None])
    wanted = by_position(output, groups)
    assert got.shape == wanted.shape
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    if x.ndim == 4:
        wide = x.contiguous(memory_format=torch.channels_last)
        again = looked_at(layer, wide)
        torch.testing.assert_close(again, found, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "attributes", "shape"),
    [("Gemm", {"transB": 1}, (5,)), ("Gemm", {}, (5,)), ("MatMul", {}, (3, 5))],
)
def test_products(build, opened, kind, attributes, shape):
    weights = RNG.normal(size=(4, 5) if attributes else (5, 4)).astype(np.float32)
    layer = layer_of(build, opened, weights, shape, kind=kind, **attributes)
    x = torch.from_numpy(RNG.normal(size=(2, *shape)).astype(np.float32))
    found = looked_at(layer, x)
    got = torch.from_numpy(layer.weights().copy()) @ found[0]
    (output,) = execution.apply(layer.node, [x, torch.from_numpy(weights)])
    torch.testing.assert_close(got.T.reshape(output.shape), output)


def test_large_pictures_are_looked_at_in_places(build, opened):
    weights = RNG.normal(size=(2, 1, 1, 1)).astype(np.float32)
    layer = layer_of(build, opened, weights, (1, 40, 40))
    x = torch.arange(1600.0).reshape(1, 1, 40, 40)
    places = positions(layer, 10_000)
    found = looked_at(layer, x, places)
    assert found.shape == (1, 1, FEWEST_POSITIONS)
    assert len(found.unique()) == FEWEST_POSITIONS


def test_moments_are_those_of_all_batches_about_their_means(build, opened):
    weights = RNG.normal(size=(4, 3)).astype(np.float32)
    layer = layer_of(build, opened, weights, (3,), kind="Gemm", transB=1)
    floats = torch.from_numpy(RNG.normal(size=(30, 3)) + 2).float()
    quantised = floats.round().to(torch.int8)
    sums = MomentSums()
    for part, rounded in zip(floats.split(7), quantised.split(7), strict=True):
        sums.add(seen(layer, part, rounded))
    moments = sums.moments()
    both = np.cov(torch.cat([floats, quantised], dim=1).T.numpy(), ddof=0)
    np.testing.assert_allclose(moments.covariance[0].numpy(), both[3:, 3:], atol=1e-4)
    np.testing.assert_allclose(moments.cross[0].numpy(), both[:3, 3:], atol=2e-3)
    np.testing.assert_allclose(moments.floats[0], floats.double().mean(dim=0), atol=1e-5)
    np.testing.assert_allclose(moments.quantised[0], quantised.double().mean(dim=0), atol=1e-6)


def test_both_streams_are_looked_at_in_the_same_places(build, opened):
    layer = layer_of(build, opened, np.ones((2, 1, 1, 1), np.float32), (1, 40, 40))
    x = torch.randn(3, 1, 40, 40, generator=torch.Generator().manual_seed(0)).mul(30).round()
    sums = MomentSums()
    sums.add(seen(layer, x, x.to(torch.int8)))
    moments = sums.moments()
    assert torch.equal(moments.covariance, moments.cross)


@pytest.mark.parametrize("share", [1e-3, 0.01, 0.5])
def test_inputs_that_hardly_vary_d2(build, opened, share):
    weights = RNG.normal(size=(4, 16)).astype(np.float32)
    layer = layer_of(build, opened, weights, (16,), kind="Gemm", transB=1)
    grid = Grid(2.65 / 255, 0, 0, 255)
    drawn = torch.rand(2000, 16, generator=torch.Generator().manual_seed(0))
    codes = (255 - (drawn < share).int()).to(torch.uint8)
    floats = grid.numbers(codes)
    sums = MomentSums()
    for part, code in zip(floats.split(200), codes.split(200), strict=True):
        sums.add(seen(layer, part, code, grid))
    found = sums.moments().covariance
    wanted = torch.cov(grid.scale * codes.T.double(), correction=0)
    torch.testing.assert_close(found[0], wanted, rtol=1e-3, atol=1e-4 * float(wanted.max()))
    rows, scale = torch.from_numpy(weights).double()[None], torch.full((1, 4, 1), 0.01).double()
    assert torch.isfinite(second_order(rows, found, scale, 127)).all()


def test_long_rows_are_seen_in_blocks_e7(build, opened, monkeypatch):
    weights = RNG.normal(size=(4, 10)).astype(np.float32)
    layer = layer_of(build, opened, weights, (10,), kind="Gemm", transB=1)
    x = torch.from_numpy(RNG.normal(size=(30, 10))).float()
    monkeypatch.setattr(rounding, "WIDEST", 4)
    sums = MomentSums()
    sums.add(seen(layer, x, x.round().to(torch.int8)))
    found = sums.moments()
    both = np.cov(torch.cat([x, x.round()], dim=1).T.numpy(), ddof=0)
    assert found.covariance.shape == found.cross.shape == (3, 4, 4)
    for block, start in enumerate((0, 4, 8)):
        there = slice(start, min(start + 4, 10))
        within = slice(10 + there.start, 10 + there.stop)
        size = there.stop - there.start
        got = found.covariance[block, :size, :size], found.cross[block, :size, :size]
        np.testing.assert_allclose(got[0].numpy(), both[within, within], atol=1e-5)
        np.testing.assert_allclose(got[1].numpy(), both[there, within], atol=5e-3)
    assert not found.covariance[2, 2:].any()


def test_what_is_not_finite_is_refused_d2(build, opened):
    layer = layer_of(build, opened, np.ones((2, 3), np.float32), (3,), kind="Gemm", transB=1)
    x = torch.tensor([[1.0, torch.inf, 0.0]])
    with pytest.raises(NumericalError) as stopped:
        seen(layer, x, torch.zeros_like(x, dtype=torch.int8))
    assert str(stopped.value) == "quantise: the network gives NaN or Inf\n  found: before w"


def test_few_rows_of_many_are_looked_at(build, opened):
    layer = layer_of(build, opened, np.ones((5, 4), np.float32), (300, 5), kind="MatMul")
    x = torch.arange(3000.0).reshape(2, 300, 5)
    found = looked_at(layer, x, 16)
    assert found.shape == (1, 5, 32)
    assert len(found[0, 0].unique()) == 32


def test_sums_of_many_products_do_not_overflow(build, opened, multiplied):
    """Zeros of a Relu are -128 where codes are signed: 2**17 of them are 2**31."""
    layer = layer_of(
        build, opened, RNG.normal(size=(2, 2)).astype(np.float32), (2,), kind="Gemm", transB=1
    )
    codes = torch.zeros(1, 2, 210_000, dtype=torch.uint8)
    codes[..., ::7] = torch.from_numpy(RNG.integers(0, 256, (1, 2, 30_000), np.uint8))
    pairs = [(codes.float(), codes)]
    found = BatchMoments.of(layer, pairs, Grid(1.0, 0, 0, 255), floats_as_seen(layer)).sums[0]
    wide = codes[0].double()
    off = wide - wide.mean(dim=1, keepdim=True)
    torch.testing.assert_close(found[0], off @ off.T, rtol=1e-4, atol=0)


@pytest.mark.parametrize("blocks", [1, 3])
def test_floats_are_rescaled_as_channels_were(build, opened, monkeypatch, tmp_path, blocks):
    layer = layer_of(build, opened, RNG.normal(size=(4, 3, 1, 2)).astype(np.float32), (3, 6, 7))
    x = torch.from_numpy(RNG.normal(size=(2, 3, 6, 7)).astype(np.float32)).mul(20)
    channels = Channels.of(x)
    channels.centre()
    channels.scale(torch.tensor([0.5, 1.0, 2.0]).double())
    floats = FloatColumns([layer], 2, SpillBuffer(tmp_path))
    floats.channels = {"input": channels}
    rescaled = (x - channels.offset[:, None, None]) / channels.factor[:, None, None]
    codes = rescaled.round().clamp(-128, 127).to(torch.int8)
    monkeypatch.setattr(rounding, "WIDEST", 6 // blocks)
    pair = [looked_at(layer, each) for each in (x, codes)]
    found = BatchMoments.of(layer, [pair], PLAIN, floats.rescaling(layer))
    wanted = seen(layer, rescaled.float(), codes)
    for got, known in zip((*found.means, *found.sums), (*wanted.means, *wanted.sums), strict=True):
        torch.testing.assert_close(got, known, rtol=1e-3, atol=5e-2)


def test_nearly_all_places_are_all(build, opened):
    layer = layer_of(build, opened, np.ones((2, 3, 1, 1), np.float32), (3, 8, 8))
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert looked_at(layer, x, 48).shape == (1, 3, 2 * 64)
    assert looked_at(layer, x, 47).shape == (1, 3, 2 * 47)


def test_how_many_columns_are_seen_together_does_not_hang_on_the_last_batch(
    build, opened, tmp_path
):
    layer = layer_of(build, opened, RNG.normal(size=(2, 3, 1, 1)).astype(np.float32), (3, 8, 8))
    floats = FloatColumns([layer], 20, SpillBuffer(tmp_path))
    for batch, size in ((0, 8), (2, 4), (1, 8)):
        floats.look("input", batch, torch.zeros(size, 3, 8, 8))
    assert floats.positions(layer) == 8 * 64
    floats.look("input", 2, torch.zeros(4, 3, 8, 8))
    assert floats.positions(layer) == 8 * 64
