import time

import numpy as np
import pytest

from edgetransfer.measure.bootstrap import Blocked, drops, median_ratios, percentile_bounds
from edgetransfer.measure.metrics import METRICS, Outcomes


def blocked(n, blocks, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    block = rng.permutation(np.arange(n) % blocks)
    return Blocked((scale * 1e6 * rng.lognormal(0, 0.1, n)).astype(np.int64), block)


@pytest.mark.parametrize(("n", "blocks"), [(7, 7), (50, 6), (501, 24)])
def test_median_ratios_equal_the_plain_computation(n, blocks):
    first, second = blocked(n, blocks, 1), blocked(n + 13, blocks, 2)
    draws = median_ratios(first, second, blocks, seed=5, resamples=40)
    weights = np.random.default_rng(5).multinomial(blocks, np.full(blocks, 1 / blocks), size=40)

    def median(side, weight):
        values = np.sort(np.repeat(side.values, weight[side.block]))
        return values[(len(values) + 1) // 2 - 1]

    expected = [median(first, w) / median(second, w) for w in weights]
    assert draws.tolist() == expected


def test_two_thousand_resamples_of_five_thousand_samples_take_under_a_second():
    first, second = blocked(5000, 40, 1), blocked(5000, 40, 2)
    start = time.process_time()
    median_ratios(first, second, 40, seed=0)
    assert time.process_time() - start < 1


def test_equal_samples_have_a_ratio_of_one_in_every_draw():
    side = blocked(300, 10, 1)
    assert (median_ratios(side, side, 10, seed=0) == 1).all()


def test_a_block_without_samples_is_refused():
    with pytest.raises(ValueError, match=r".") as caught:
        median_ratios(blocked(10, 3, 1), blocked(10, 4, 1), 4, seed=0)
    assert str(caught.value) == "each of the 4 blocks needs a sample of both variants"


def test_percentile_bounds_of_negated_draws_are_negated():
    draws = np.random.default_rng(0).normal(size=999)
    low, high = percentile_bounds(draws, 0.95)
    assert percentile_bounds(-draws, 0.95) == (-high, -low)


def outcomes(n=300, classes=4, seed=0, flips=0.1):
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, n, p=np.arange(1, classes + 1) / (classes * (classes + 1) / 2))
    reference = np.where(rng.random(n) < 0.85, truth, rng.integers(classes, size=n))
    candidate = np.where(rng.random(n) < flips, rng.integers(-1, classes, size=n), reference)
    return Outcomes(truth, reference, candidate, classes)


@pytest.mark.parametrize("metric", ["macro-f1", "balanced-accuracy"])
def test_drops_scatter_as_a_plain_stratified_bootstrap_does(metric):
    data = outcomes()
    fast = drops(data, metric, seed=0, resamples=4000)
    rng = np.random.default_rng(1)
    strata = [np.flatnonzero(data.truth == k) for k in range(data.classes)]
    slow = []
    for _ in range(800):
        take = np.concatenate([rng.choice(s, len(s)) for s in strata])
        score = METRICS[metric]
        slow.append(
            score(data.truth[take], data.reference[take], data.classes)
            - score(data.truth[take], data.candidate[take], data.classes)
        )
    assert fast.mean() == pytest.approx(np.mean(slow), abs=0.003)
    assert fast.std() == pytest.approx(np.std(slow), rel=0.1)


@pytest.mark.parametrize("metric", ["macro-f1", "balanced-accuracy"])
def test_drops_of_a_model_against_itself_are_zero_and_seeded(metric):
    data = outcomes()
    same = Outcomes(data.truth, data.reference, data.reference, data.classes)
    assert not drops(same, metric, seed=0, resamples=50).any()
    again = [drops(data, metric, seed=9, resamples=50).tolist() for _ in range(2)]
    assert again[0] == again[1]
