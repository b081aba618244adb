"""A machine that gets slower as it gets warm, by a clock of its own."""

import pytest

from edgetransfer.agent.sustain import Senses, sustain
from edgetransfer.agent.timing import Clock

MS = 1_000_000
CALM = {
    "frequency_khz": 1_800_000,
    "temperatures_c": {"thermal_zone0 cpu": 40.0},
    "throttling": {},
    "load_average": 0.5,
}


def test_a_row_a_window():
    now = [0]
    kernel = iter([50, 55, 60])

    def call():
        now[0] += (10 if now[0] < 2_000 * MS else 15) * MS

    told = []
    senses = Senses(lambda: next(kernel), lambda: CALM, Clock(lambda: now[0], lambda: now[0] // 2))
    rows = sustain(call, 3.0, 1.0, lambda *line: told.append(line), senses)
    assert [row["p50_ms"] for row in rows] == [10, 10, 15]
    assert [row["cpu_p50_ms"] for row in rows] == [5, 5, 7.5]
    assert [row["at_s"] for row in rows] == pytest.approx([0, 1, 2])
    assert [row["n"] for row in rows] == [100, 100, 67]
    assert [row["probe_ns"] for row in rows] == [50, 55, 60]
    assert {key: rows[0][key] for key in CALM} == CALM
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_call_longer_than_a_window_is_a_row():
    now = [0]

    def call():
        now[0] += 2_500 * MS

    senses = Senses(lambda: 50, lambda: CALM, Clock(lambda: now[0], lambda: now[0]))
    rows = sustain(call, 5.0, 1.0, lambda *_: None, senses)
    assert [(row["n"], row["p50_ms"]) for row in rows] == [(1, 2500), (1, 2500)]
