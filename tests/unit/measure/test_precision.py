"""When more processes are asked for."""

import numpy as np
import pytest

from edgetransfer.measure.speed.latency import Samples, lacking
from edgetransfer.measure.stats.intervals import early_stopping, quantile


def samples(scale_ms, *, each=200, spread=0.01, seed=0):
    rng = np.random.default_rng(seed)
    tables = []
    for ms in scale_ms:
        wall = ms * 1e6 * rng.lognormal(0, spread, each)
        tables.append(np.stack([np.arange(each) // 25, wall, wall], axis=1).astype(np.int64))
    return Samples.from_processes(tables)


def test_quiet_processes_that_agree_lack_nothing():
    assert lacking(samples([10, 10.02, 9.98])) == ()


def test_one_process_has_no_interval_between_processes():
    assert lacking(samples([10])) == ("median has no interval yet",)


def test_processes_that_disagree_need_more_of_them():
    (told,) = lacking(samples([10, 10.4, 9.6]))
    assert told.startswith("median within ")
    assert told.endswith(" %, not 2 %")
    assert lacking(samples([10, 10.4, 9.6, 9.9, 10.1] * 8)) == ()


def test_few_and_wide_samples():
    told = lacking(samples([10, 10], each=20, spread=0.5, seed=3))
    assert told[0] == "40 samples of 64"
    assert [each.split()[0] for each in told[1:]] == ["median", "p90"]


def test_the_estimate_of_loadgen_lies_over_the_true_percentile():
    rng = np.random.default_rng(1)
    over = [early_stopping(rng.exponential(size=400), 0.9) >= np.log(10) for _ in range(500)]
    assert np.mean(over) >= 0.98


@pytest.mark.parametrize(("n", "slowest"), [(64, 1), (97, 3), (100, 3), (1000, 78)])
def test_the_estimate_is_the_t_th_slowest(n, slowest):
    values = np.arange(n)
    assert early_stopping(values, 0.9) == n - slowest
    assert early_stopping(values, 0.9) >= quantile(values, 0.9)
