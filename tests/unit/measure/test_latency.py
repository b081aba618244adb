import numpy as np
import pytest

from edgetransfer.measure.speed.latency import Samples, classify, histogram, speedup, summarise


def samples(scale_ms, seed, processes=3, blocks=8, each=20, drift=None, layout=0.0):
    rng = np.random.default_rng(seed)
    tables = []
    for process in range(processes):
        block = np.repeat(np.arange(blocks), each)
        slow = 1.0 if drift is None else drift[process][block]
        slow = slow * rng.lognormal(0, layout)
        wall = scale_ms * 1e6 * slow * rng.lognormal(0, 0.05, len(block))
        tables.append(np.stack([block, wall, 0.9 * wall], axis=1).astype(np.int64))
    return Samples.from_processes(tables)


def test_summary_in_milliseconds_with_intervals():
    summary = summarise(samples(10, 0))
    assert (summary.n, summary.processes, len(summary.process_p50_ms)) == (480, 3, 3)
    assert summary.p50_ms == pytest.approx(10, rel=0.02)
    assert summary.cpu_p50_ms == pytest.approx(9, rel=0.02)
    assert summary.p50_ci95_ms[0] < summary.p50_ms < summary.p50_ci95_ms[1] < summary.p90_ms
    assert summary.p90_ci95_ms[0] < summary.p90_ms < summary.p90_ci95_ms[1] < summary.max_ms


def test_few_samples_have_no_interval():
    summary = summarise(samples(10, 0, processes=1, blocks=1, each=20))
    assert summary.p90_ci95_ms is None
    assert summary.p50_ci95_ms is not None


def test_a_twice_as_fast_candidate_is_faster_in_both_clocks():
    result = speedup(samples(10, 1), samples(5, 2))
    assert result.blocks == 24
    for ratio in (result.wall, result.cpu):
        assert ratio.ratio == pytest.approx(2, rel=0.04)
        assert ratio.ci95[0] < ratio.ratio < ratio.ci95[1]
        assert (ratio.speed, ratio.reason) == ("FASTER", "")


def test_swapping_the_variants_inverts_ratio_and_class():
    there = speedup(samples(10, 1), samples(5, 2)).wall
    back = speedup(samples(5, 2), samples(10, 1)).wall
    assert back.ratio == pytest.approx(1 / there.ratio)
    assert back.ci95 == pytest.approx((1 / there.ci95[1], 1 / there.ci95[0]))
    assert back.speed == "SLOWER"


def test_a_variant_against_itself_is_the_same():
    side = samples(10, 1)
    ratio = speedup(side, side).wall
    assert (ratio.ratio, ratio.ci95, ratio.speed) == (1.0, (1.0, 1.0), "SAME")


def test_drift_of_the_clock_common_to_a_block_cancels():
    drift = np.random.default_rng(5).uniform(1, 2, size=(3, 8))
    paired = speedup(samples(10, 1, drift=drift), samples(10, 2, drift=drift)).wall
    other = np.random.default_rng(6).permutation(drift, axis=1)
    apart = speedup(samples(10, 1, drift=drift), samples(10, 2, drift=other)).wall
    assert np.diff(paired.ci95) < np.diff(apart.ci95) / 2


@pytest.mark.parametrize("layout", [0.0, 0.04])
def test_the_interval_covers_about_its_level(layout):
    held = 0
    rng = np.random.default_rng(8)
    for trial in range(200):
        drift = rng.lognormal(0, 0.1, size=(4, 5))
        shape = {"processes": 4, "blocks": 5, "each": 8, "drift": drift, "layout": layout}
        first, second = samples(12, 2 * trial, **shape), samples(10, 2 * trial + 1, **shape)
        low, high = speedup(first, second).wall.ci95
        held += low <= 1.2 <= high
    assert 182 <= held <= 198


def test_only_blocks_that_both_share_are_compared():
    first, second = samples(10, 1, processes=2), samples(5, 2, processes=1)
    assert speedup(first, second).blocks == 8
    apart = Samples(second.process + 7, second.block, second.wall_ns, second.cpu_ns)
    ratio = speedup(first, apart).wall
    assert (ratio.ratio, ratio.ci95, ratio.speed) == (None, None, "UNDECIDED")
    assert ratio.reason == "no block was timed for both variants"


def test_one_process_gives_a_ratio_without_interval():
    ratio = speedup(*(samples(10, s, processes=1) for s in (1, 2))).wall
    assert ratio.ratio == pytest.approx(1, rel=0.05)
    assert (ratio.ci95, ratio.speed) == (None, "UNDECIDED")
    assert ratio.reason == "needs 2 processes that timed both variants, there is 1"


def test_a_step_of_the_frequency_between_two_turns_does_not_move_the_ratio():
    step = np.ones((3, 8))
    step[:, 4:] = 1.25
    late = step.copy()
    late[:, 4] = 1.0
    ratio = speedup(samples(10, 1, drift=step), samples(10, 2, drift=late)).wall
    assert ratio.ratio == pytest.approx(1, abs=0.02)


def test_a_clock_that_shows_nothing_gives_no_ratio():
    side = samples(10, 1)
    still = Samples(side.process, side.block, side.wall_ns, np.zeros_like(side.cpu_ns))
    result = speedup(side, still)
    assert result.wall.speed == "SAME"
    assert result.cpu.reason == "the clock is too coarse: a median is 0 ns"
    assert result.cpu.ratio is None


@pytest.mark.parametrize(
    ("ci95", "speed"),
    [
        ((1.03, 1.5), "FASTER"),
        ((0.5, 0.97), "SLOWER"),
        ((0.985, 1.015), "SAME"),
        ((0.9, 1.01), "UNDECIDED"),
        ((1.01, 1.04), "UNDECIDED"),
    ],
)
def test_classes_have_a_margin_of_two_per_cent(ci95, speed):
    assert classify(ci95) == speed


def test_the_histogram_holds_every_sample():
    first, second = samples(10, 1), samples(5, 2)
    shape = histogram(first, second)
    assert sum(shape.reference) == len(first.wall_ns)
    assert sum(shape.candidate) == len(second.wall_ns)
    assert len(shape.edges_ms) == len(shape.reference) + 1
    flat = Samples(first.process, first.block, first.block * 0 + 7, first.cpu_ns)
    assert sum(histogram(flat, flat).reference) == len(first.wall_ns)


def test_arrays_of_different_lengths_are_refused():
    one, two = np.zeros(1, np.int64), np.zeros(2, np.int64)
    with pytest.raises(ValueError, match=r".") as caught:
        Samples(one, one, two, one)
    assert str(caught.value) == (
        "process, block, wall_ns, cpu_ns need one length above 0, found [1, 1, 2, 1]"
    )


def test_what_else_a_summary_says():
    summary = summarise(samples(10, 0))
    assert summary.p90_ms < summary.es_p90_ms < summary.max_ms
    assert summary.p95_ci95_ms[0] <= summary.p95_ms <= summary.p95_ci95_ms[1] <= summary.p99_ms
    assert summary.mad_ms == pytest.approx(10 * 0.0337, rel=0.15)
    assert summary.rel_iqr == pytest.approx(0.0674, rel=0.15)
    assert summary.between_process_cv < 0.02
    assert summary.throughput_per_s == pytest.approx(100, rel=0.02)
    assert summary.cpu_utilisation == pytest.approx(0.9, rel=0.01)
    assert summary.outliers >= summary.far_outliers == 0


def test_percentiles_that_few_samples_do_not_have():
    summary = summarise(samples(10, 0, processes=1, blocks=3))
    assert summary.n == 60
    assert (summary.es_p90_ms, summary.p95_ms, summary.p99_ms) == (None, None, None)
    assert summary.between_process_cv is None


def test_slow_calls_are_counted_and_stay():
    side = samples(10, 0)
    wall = side.wall_ns.copy()
    wall[:5] *= 20
    summary = summarise(Samples(side.process, side.block, wall, side.cpu_ns))
    assert (summary.far_outliers, summary.n) == (5, 480)
    assert summary.max_ms > 150
