"""How much slower a device gets, from rows by hand."""

import pytest

from edgetransfer.measure.speed.sustained import in_words, summarise_series


def row(at_s, p50_ms, celsius=None, count=0):
    return {
        "at_s": at_s,
        "n": 100,
        "p50_ms": p50_ms,
        "temperatures_c": {} if celsius is None else {"zone": celsius, "other": 20.0},
        "throttling": {"cpu0 core throttle count": count},
    }


def test_a_device_that_gets_hot_and_slow():
    medians = [10, 10, 11, 12, 14, 20, 20, 20]
    rows = [row(5 * i, ms, 40.0 + 5 * i, i // 4) for i, ms in enumerate(medians)]
    found = summarise_series(rows)
    series = found.pop("series")
    assert series == rows
    assert found == {
        "valid": True,
        "violations": [],
        "windows": 8,
        "inferences": 800,
        "cool_p50_ms": 10.0,
        "steady_p50_ms": 20.0,
        "slowest_p50_ms": 20.0,
        "drop_pct": 50.0,
        "hottest_c": 75.0,
        "throttled_by": ["cpu0 core throttle count"],
    }


def test_a_device_that_keeps_its_pace_and_tells_no_temperature():
    found = summarise_series([row(0, 10), row(5, 10), row(10, 9.9), row(15, 10)])
    assert found["drop_pct"] == pytest.approx(0.0, abs=1.1)
    assert (found["hottest_c"], found["throttled_by"]) == (None, [])


QUIET = {"elapsed_s": 5.0, "own_s": 4.98, "cores_s": 20.0, "busy_s": 5.1, "stolen_s": 0.0}
BUSY = {**QUIET, "busy_s": 15.0}
WAITED = {**QUIET, "own_s": 3.0}
STEADY = {"probe_ns": 500, "frequency_khz": 1_800_000}
HOT = {"probe_ns": 700, "frequency_khz": 1_300_000}


def series(*parts, medians=(10, 10, 10, 10)):
    pairs = zip(medians, parts, strict=False)
    return [{**row(5 * i, ms), **part} for i, (ms, part) in enumerate(pairs)]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (
            series(QUIET, BUSY, BUSY, BUSY, medians=(10, 14, 14, 14)),
            "other processes took up to 50 % of the cores, in 3 of 4 windows",
        ),
        (
            series(BUSY, QUIET, QUIET, QUIET, medians=(10, 10, 10, 10)),
            "other processes took up to 50 % of the cores, in 1 of 4 windows",
        ),
        (
            series(QUIET, WAITED, WAITED, WAITED, medians=(10, 17, 17, 17)),
            "it was without a core for up to 40 % of the time, in 3 of 4 windows",
        ),
        (
            series(*4 * [{**QUIET, "stolen_s": 1.02}]),
            "a hypervisor took up to 20 % of the cores' busy time",
        ),
        (
            series(*4 * [{**QUIET, **STEADY}], medians=(10, 12, 13, 13)),
            "inferences took 1.30 times as long at last, and the processor was as fast as at first"
            ": other work shares its memory or caches",
        ),
        (
            series(*4 * [QUIET], medians=(20, 10, 10, 10)),
            "inferences took 2.00 times as long at first: it was not a quiet start",
        ),
        (series(QUIET, QUIET, QUIET), "3 windows, not 4 at least: let it work longer"),
    ],
)
def test_a4_what_other_work_may_have_done_is_no_number(rows, why):
    found = summarise_series(rows)
    assert (found["valid"], found["violations"]) == (False, [why])
    assert not {"cool_p50_ms", "steady_p50_ms", "slowest_p50_ms", "drop_pct"} & found.keys()
    (line,) = in_words({"seconds": 20, **found})
    assert line == f"after 20 s of work: INVALID, it says nothing of the device: {why}"


def test_a_device_that_slows_itself_down_is_told_of():
    rows = series(*2 * [{**QUIET, **STEADY}], *2 * [{**QUIET, **HOT}], medians=(10, 10, 14, 14))
    found = summarise_series(rows)
    assert (found["valid"], found["drop_pct"]) == (True, 28.57)
    assert list(in_words({"seconds": 20, **found})) == [
        "after 20 s of work: p50 14.00 ms, 10.00 at first (-28.6 % inferences a second)"
    ]


def test_one_window_of_other_work_in_many_is_not_the_end():
    rows = series(QUIET, BUSY, *6 * [QUIET], medians=8 * [10])
    assert summarise_series(rows)["valid"]


def test_waiting_for_an_accelerator_is_no_waiting_for_a_core():
    assert summarise_series(series(*4 * [WAITED]), on_cpu=False)["valid"]
