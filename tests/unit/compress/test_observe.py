"""What is seen of tensors, batch after batch, is what there is to see at once."""

import weakref

import numpy as np
import pytest
import torch

from edgetransfer.compress.observe import (
    BINS,
    MOST_PLACES,
    ActivationHistogram,
    Channels,
    watch_channels,
    watch_ranges,
)


def drawn(seed, shape=(40, 3, 8, 8)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).exp() - 0.7


def test_a_histogram_of_batches_is_that_of_all():
    x = drawn(0)
    whole, streamed = ActivationHistogram(), ActivationHistogram()
    whole.add(x)
    for part in x.split(7):
        streamed.add(part)
    assert (whole.low, whole.high) == (streamed.low, streamed.high) == (x.min(), x.max())
    assert whole.counts.sum() == streamed.counts.sum() == x.numel()
    width = (whole.high - whole.low) / BINS
    sums = [each.counts.cumsum(0) for each in (whole, streamed)]
    moved = max(int(x[0].numel() * 0.01), 1)
    assert (sums[0] - sums[1]).abs().max() < 40 * moved
    means = [(each.centres() * each.counts).sum() / x.numel() for each in (whole, streamed)]
    assert abs(means[0] - means[1]) < width


def test_widening_moves_counts_by_a_bin_at_most_each_time():
    histogram = ActivationHistogram()
    histogram.add(torch.full((10,), 0.25))
    for most in (1.0, 2.0, 3.0):
        histogram.add(torch.tensor([most]))
    width = 3.0 / BINS
    (place,) = (histogram.counts == 10).nonzero()[0]
    assert abs(histogram.centres()[place] - 0.25) < 3 * width
    assert histogram.counts.sum() == 13


def test_extremes_of_every_batch_are_kept_and_zero_is_inside():
    histogram = ActivationHistogram()
    for low, high in ((1.0, 2.0), (0.5, 1.5)):
        histogram.add(torch.linspace(low, high, 9))
    assert histogram.extremes == [(1.0, 2.0), (0.5, 1.5)]
    assert (histogram.low, histogram.high) == (0.0, 2.0)


def test_a_constant_tensor_is_counted():
    histogram = ActivationHistogram()
    histogram.add(torch.zeros(5))
    assert histogram.counts.sum() == 5
    assert histogram.high > histogram.low


def test_large_batches_are_thinned_but_their_extremes_count():
    x = torch.zeros(1_000_003)
    x[7], x[8] = -3.0, 5.0
    histogram = ActivationHistogram()
    histogram.add(x)
    assert (histogram.low, histogram.high) == (-3.0, 5.0)
    assert 150_000 < histogram.counts.sum() < 260_000


def test_channels_of_batches_are_those_of_all():
    x = drawn(1)
    seen = Channels.of(x[:13])
    seen.add(Channels.of(x[13:]))
    rows = x.transpose(0, 1).flatten(1).double()
    assert torch.equal(seen.low, rows.amin(dim=1))
    assert torch.equal(seen.high, rows.amax(dim=1))
    torch.testing.assert_close(seen.square / seen.count, rows.square().mean(dim=1))
    torch.testing.assert_close(seen.mean / seen.count, rows.mean(dim=1))


@pytest.mark.parametrize("shape", [(3, 5, 37, 29), (2, 3000, 1, 2), (700, 4)])
def test_channels_that_lie_side_by_side(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x
    rows = x.transpose(0, 1).flatten(1).double()
    seen = Channels.of(x)
    assert torch.equal(seen.low, rows.amin(dim=1))
    assert torch.equal(seen.high, rows.amax(dim=1))
    spread = rows.std(dim=1, correction=0) / min(MOST_PLACES, rows.shape[1]) ** 0.5
    assert (((seen.mean / seen.count - rows.mean(dim=1)) / spread).abs() < 5).all()
    assert not Channels.of(x.relu(), floored=True).low.any()


def test_what_is_no_number_is_an_extreme_too():
    x = torch.zeros(2, 3, 40, 40).contiguous(memory_format=torch.channels_last)
    x[1, 2, 39, 39] = torch.nan
    assert Channels.of(x, floored=True).high.isnan().tolist() == [False, False, True]


def test_of_many_batches_few_are_in_memory(network, opened, pictures):
    found, layout = opened(network)
    made, held = [], []

    def many():
        for _ in range(40):
            rows = torch.from_numpy(pictures[:8].copy())
            made.append(weakref.ref(rows))
            held.append(sum(each() is not None for each in made))
            yield {"input": rows}

    watch_channels(found.graph, layout.points, many())
    assert len(made) == 40
    assert max(held) <= 12


def test_tensors_of_a_graph_are_watched_by_name(network, opened, pictures, batches, run):
    found, layout = opened(network)
    ranges = watch_ranges(found.graph, layout.roots(), batches(pictures[:20])())
    channels = watch_channels(found.graph, layout.points, batches(pictures[:20])())
    assert list(ranges) == list(layout.roots())
    assert set(channels) == set(layout.points)
    assert len(ranges["input"].extremes) == 3
    np.testing.assert_allclose(ranges["input"].high, pictures[:20].max())
    for name in layout.points:
        assert ranges[name].high == max(float(channels[name].high.max()), 0.0)
    assert 0.0 < ranges["stem.a"].high <= 6.0
