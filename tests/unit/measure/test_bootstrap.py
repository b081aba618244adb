import numpy as np
import pytest

from edgetransfer.measure.stats.intervals import percentile_bounds
from edgetransfer.tasks.classification.judge.comparison import drops
from edgetransfer.tasks.classification.judge.metrics import METRICS, Outcomes


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
