import numpy as np
import pytest
from scipy import stats

from edgetransfer.measure.stats.intervals import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    smallest_n,
    wilson,
)


@pytest.mark.parametrize(("k", "n"), [(0, 1), (0, 60), (1, 153), (5, 100), (99, 100), (7, 7)])
def test_clopper_pearson_agrees_with_scipy(k, n):
    upper = stats.binomtest(k, n, alternative="less").proportion_ci(0.95, "exact").high
    lower = stats.binomtest(k, n, alternative="greater").proportion_ci(0.95, "exact").low
    assert clopper_pearson_upper(k, n) == pytest.approx(upper)
    assert clopper_pearson_lower(k, n) == pytest.approx(lower)


@pytest.mark.parametrize("rate", [0.005, 0.03, 0.2])
def test_clopper_pearson_covers_at_least_its_level(rate):
    n = 150
    k = np.arange(n + 1)
    covered = [clopper_pearson_upper(i, n) >= rate for i in k]
    assert stats.binom.pmf(k, n, rate)[covered].sum() >= 0.95


@pytest.mark.parametrize(("k", "n"), [(0, 10), (10, 10), (81, 263), (15, 148), (1, 29)])
def test_wilson_agrees_with_scipy(k, n):
    theirs = stats.binomtest(k, n).proportion_ci(0.95, "wilson")
    assert wilson(k, n) == pytest.approx((theirs.low, theirs.high))


def test_smallest_n_is_the_first_and_may_not_exist():
    assert [smallest_n(lambda n, k=k: n >= k) for k in range(1, 40)] == list(range(1, 40))
    assert smallest_n(lambda n: False) is None
