import numpy as np
import pytest
from scipy import stats

from edgetransfer.measure.stats.intervals import quantile, quantile_ci, samples_needed


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [36, 100, 400, 3001])
def test_ends_are_the_tightest_ranks_that_keep_each_tail(p, n):
    ci = quantile_ci(np.random.default_rng(0).permutation(np.arange(1, n + 1)), p)
    count = stats.binom(n, p)
    if ci is None:
        assert n < samples_needed(p)
        return
    low, high = int(ci[0]), int(ci[1])
    assert count.cdf(low - 1) <= 0.025 < count.cdf(low)
    assert count.sf(high - 1) <= 0.025 < count.sf(high - 2)


@pytest.mark.parametrize("p", [0.5, 0.9])
def test_the_interval_covers_its_level(p):
    rng = np.random.default_rng(3)
    truth = stats.expon.ppf(p)
    held = 0
    for _ in range(600):
        low, high = quantile_ci(rng.exponential(size=120), p)
        held += low <= truth <= high
    assert 0.93 <= held / 600 <= 0.99


def test_the_smallest_samples_follow_from_the_powers_of_p():
    # 0.9^35 > 2.5 % >= 0.9^36
    assert (samples_needed(0.5), samples_needed(0.9)) == (6, 36)
    assert quantile_ci(np.arange(36), 0.9) is not None
    assert quantile_ci(np.arange(35), 0.9) is None


def test_a_quantile_is_a_sample_and_lies_in_its_interval():
    values = np.random.default_rng(1).lognormal(size=501)
    for p in (0.5, 0.9):
        low, high = quantile_ci(values, p)
        assert quantile(values, p) in values
        assert low <= quantile(values, p) <= high
