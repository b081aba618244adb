"""How much slower a device gets, from rows by hand."""

import pytest

from edgetransfer.measure.sustained import summarise_series


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
