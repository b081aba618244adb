"""The fixed kernel and the baseline, by a clock that is told what to say."""

import itertools

import pytest

from edgetransfer.agent import timing
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession


def test_the_best_of_the_short_runs_counts():
    took = [500, 300, 100, 900, 800, 700, 600, 400]
    ends = itertools.accumulate(took)
    clock = iter(
        [moment for end, each in zip(ends, took, strict=True) for moment in (end - each, end)]
    )
    assert timing.Kernel(lambda: next(clock))() == 100


def test_the_kernel_takes_time():
    assert timing.Kernel()() > 0


def test_the_baseline_is_what_is_usual():
    told = itertools.chain([9999], itertools.cycle([100, 104, 108, 104]))
    assert timing.baseline(lambda: next(told)) == pytest.approx((104.0, 2 / 104))


def test_the_null_model_gives_back_what_it_gets():
    import numpy as np

    session = OnnxSession(timing.NULL_MODEL)
    example = {"x": np.full((1, 1), 3.5, np.float32)}
    assert session.run(example)[0].tolist() == [[3.5]]
    assert timing.floor_ns(session.run) > 0
