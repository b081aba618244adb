"""The benchmark of the rule in a short form: how often it errs, by simulation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgetransfer.measure.speed.latency import speedup

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
# Imported when tests are collected, for it reads how long an effort is, which other tests shorten.
with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(BENCHMARKS)
    import comparison_rule


@pytest.fixture(scope="module")
def rule():
    return comparison_rule


def test_the_simulation_judges_as_the_package_does(rule):
    rng = np.random.default_rng(4)
    shape = rule.Shape(fewest=4, most=4, blocks=3, calls=5)
    for ratio in (1.0, 1.06, 0.9):
        times = rule.draw(rng, rule.NOISES["board"], shape, ratio)
        assert rule.new_rule(times, 4) == speedup(*rule.as_samples(times)).wall.speed


def wrong(found):
    return found.get("FASTER", 0.0) + found.get("SLOWER", 0.0)


@pytest.mark.parametrize("name", ["board", "machine", "board, large layout"])
def test_equal_variants_are_seldom_called_unequal(rule, name):
    found = rule.judged(rule.NOISES[name], rule.SHAPES["standard"], 1.0, 150)
    assert wrong(found) <= 0.05


def test_five_per_cent_more_are_found(rule):
    found = rule.judged(rule.NOISES["board"], rule.SHAPES["standard"], 1 / 1.05, 150)
    assert found.get("SLOWER", 0.0) >= 0.9


def test_resampling_blocks_alone_errs_where_processes_differ(rule):
    shape = rule.Shape(fewest=3, most=3, blocks=8, calls=6)
    noise = replace(rule.NOISES["board"], layout=0.05)
    assert wrong(rule.judged(noise, shape, 1.0, 100, before=True)) > 0.1
    assert wrong(rule.judged(noise, shape, 1.0, 100)) <= 0.05
