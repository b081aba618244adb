"""A machine that gets slower as it gets warm, by a clock of its own."""

import pytest

from edgetransfer.agent.benchmark import Senses, sustain
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
    assert [row["elapsed_s"] for row in rows] == pytest.approx([1, 1, 1.005])
    assert [row["own_s"] for row in rows] == pytest.approx([0.5, 0.5, 0.5025])
    assert told == [(1, 3), (2, 3), (3, 3)]


def test_a_row_says_who_used_the_cores():
    now, ticks = [0], iter([0, 100, 250])

    def call():
        now[0] += 500 * MS

    def snapshot():
        used = next(ticks)
        return {**CALM, "ticks": {"all": 2 * used, "idle": used // 2, "stolen": 0}}

    senses = Senses(lambda: 50, snapshot, Clock(lambda: now[0], lambda: now[0]))
    rows = sustain(call, 2.0, 1.0, lambda *_: None, senses)
    assert [row["busy_s"] / row["cores_s"] for row in rows] == pytest.approx([0.75, 0.75])
    assert rows[1]["cores_s"] == pytest.approx(1.5 * rows[0]["cores_s"])


def test_a_call_longer_than_a_window_is_a_row():
    now = [0]

    def call():
        now[0] += 2_500 * MS

    senses = Senses(lambda: 50, lambda: CALM, Clock(lambda: now[0], lambda: now[0]))
    rows = sustain(call, 5.0, 1.0, lambda *_: None, senses)
    assert [(row["n"], row["p50_ms"]) for row in rows] == [(1, 2500), (1, 2500)]
