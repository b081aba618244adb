"""What a frozen backbone costs: in times that are valid, and by its faster form."""

import numpy as np

from edgetransfer.measure.speed.latency import Samples
from edgetransfer.pipeline.bench.times import TimedModels
from edgetransfer.tasks.classification import cost

BOTH = {"float_bytes": 2**21, "int8_bytes": 2**19, "float_p90_ms": 4.0, "int8_p90_ms": 1.5}


def timed(wall_ms, *, warm=True):
    each = np.array([0, 0, 1, 1])
    samples = Samples(each, each, np.full(4, int(wall_ms * 1e6)), np.full(4, 1_000_000))
    process = {"warmed_up": {"float": warm}, "turns": []}
    return TimedModels({"float": samples}, {"processes": [process, process]})


def test_the_faster_form_is_what_a_build_would_ship():
    assert cost._fastest(BOTH) == 1.5
    assert cost._fastest({**BOTH, "int8_p90_ms": 9.0}) == 4.0
    assert cost._fastest({"float_bytes": 1}) is None


def test_times_that_are_not_valid_rank_nothing():
    assert cost._times(timed(2.0)) == {"float_p50_ms": 2.0, "float_p90_ms": 2.0}
    cold = "float did not settle in the warm-up of most processes"
    assert cost._times(timed(2.0, warm=False)) == {"not_timed": cold}


def test_it_is_told_in_a_line_with_times_where_there_are_any():
    assert cost._told_cost(BOTH) == "float 2.0 MiB, p90 4.00 ms; int8 0.5 MiB, p90 1.50 ms"
    assert cost._told_cost({"float_bytes": 2**20}) == "float 1.0 MiB"
