"""A page that fails, leaves or falls silent ends in one error that says what was seen last."""

import time

import numpy as np
import pytest

from edgetransfer.errors import StageError
from edgetransfer.transport.browser.exchange import (
    Arrays,
    Errand,
    Exchange,
    Listener,
    PageTimeouts,
    environment,
    warnings,
)

USUAL = PageTimeouts()
FACTS = {
    "user_agent": "Mozilla/5.0 (Linux; Android 16)",
    "platform": "Android 16.0.0",
    "model": "Pixel 8",
    "architecture": "arm 64",
    "browser": "Chromium 150",
    "cores": 8,
    "memory_gib_rounded": 8,
    "secure_context": True,
    "cross_origin_isolated": True,
    "wasm": ["threads", "simd"],
    "clock_step_ms": 0.005,
    "gpu": None,
}


@pytest.fixture
def exchange():
    exchange = Exchange()
    exchange.offer(Errand({"action": "outputs"}))
    return exchange


@pytest.fixture
def heard(exchange, tmp_path):
    """Let the page say some messages, and follow them to the end."""

    def follow(*messages, ended=lambda: None, patience=USUAL, action="outputs"):
        for message in messages:
            exchange.hear(exchange.errand.number, message)
        told = []
        listener = Listener(
            exchange, Arrays(action, tmp_path), lambda *each: told.append(each), patience
        )
        return listener.follow(action, "browser", ended), told

    return follow


def failure(heard, *messages, **options):
    with pytest.raises(StageError) as caught:
        heard(*messages, **options)
    return str(caught.value)


def test_progress_arrays_and_the_result(heard, exchange, tmp_path):
    rows = np.array([[1.5, 2.5]], np.float32)
    result, told = heard(
        {"event": "step", "text": "candidate: 2 examples", "hidden": False},
        {"event": "alive", "hidden": False},
        {"event": "progress", "done": 2, "total": 2, "hidden": False},
        {"event": "array", "name": "output-0", "array": rows},
        {"event": "result", "load_ms": 3.5, "hidden": False},
    )
    assert result == {"load_ms": 3.5}
    assert told == [(2, 2)]
    np.testing.assert_array_equal(np.load(tmp_path / "output-0.npy"), rows)
    assert exchange.errand is None


def test_an_error_in_the_page(heard):
    assert failure(
        heard,
        {"event": "step", "text": "candidate: 9 examples"},
        {"event": "progress", "done": 4, "total": 9},
        {"event": "error", "text": "no available backend found"},
    ) == (
        "browser: the browser did not finish the job 'outputs'\n"
        "  found: no available backend found; last seen: candidate: 9 examples, 4 of 9"
    )


def test_a_page_that_is_left(heard):
    assert failure(heard, {"event": "closed"}) == (
        "browser: the browser did not finish the job 'outputs'\n"
        "  found: the page was closed or left; last seen: nothing"
    )


def test_a_browser_that_ends(heard):
    assert failure(heard, ended=lambda: "Chromium ended: exit code 1") == (
        "browser: the browser did not finish the job 'outputs'\n"
        "  found: Chromium ended: exit code 1; last seen: nothing"
    )


def test_a_page_that_falls_silent(heard):
    start = time.monotonic()
    assert failure(
        heard, {"event": "step", "text": "loading"}, patience=PageTimeouts(silent_s=0.2)
    ) == (
        "browser: the browser did not finish the job 'outputs'\n"
        "  found: the page has said nothing for 0.2 s; last seen: loading"
    )
    assert time.monotonic() - start >= 0.2


def test_a_page_that_is_there_but_stalls(heard):
    assert failure(heard, {"event": "alive"}, patience=PageTimeouts(step_s=0.2)) == (
        "browser: the browser did not finish the job 'outputs'\n"
        "  found: the page is there, but nothing has moved for 0.2 s; last seen: nothing"
    )


def test_times_taken_in_the_background_are_disturbed(heard):
    turns = [{"name": "candidate", "block": 0, "marks": []}]
    result, _ = heard(
        {"event": "alive", "hidden": True},
        {"event": "result", "turns": turns, "hidden": False},
        action="time",
    )
    assert result["turns"][0]["marks"] == ["page in the background"]


def test_what_the_page_tells_has_the_agents_names():
    assert environment(FACTS, "wasm", "1.30.0") == {
        "protocol": "etb-1",
        "cpu": "Pixel 8",
        "arch": "wasm32",
        "device_arch": "arm 64",
        "isa": ["wasm_simd", "wasm_threads"],
        "cores": 8,
        "memory_mib": 8192,
        "os": "Android 16.0.0",
        "os_family": "browser",
        "identity": ["Pixel 8"],
        "providers": ["wasm"],
        "runtime": "onnxruntime-web 1.30.0, wasm",
        "user_agent": "Mozilla/5.0 (Linux; Android 16)",
        "browser": "Chromium 150",
        "secure_context": True,
        "cross_origin_isolated": True,
        "clock_step_ms": 0.005,
        "gpu": None,
    }


@pytest.mark.parametrize(
    ("facts", "seen", "expected"),
    [
        ({}, {"asked": 2, "used": 2, "calls_per_sample": {"a": 1}, "hidden": False}, []),
        (
            {"secure_context": False, "cross_origin_isolated": False, "clock_step_ms": 0.1},
            {"asked": 4, "used": 1},
            [
                "the page came by plain http, which browsers give no threads, no WebGPU and a "
                "clock with a step of 0.1 ms",
                "4 threads were asked for and 1 used",
            ],
        ),
        (
            {"cross_origin_isolated": False, "clock_step_ms": 1.0},
            {"calls_per_sample": {"a": 1, "b": 40}},
            [
                "the page is not isolated: no threads, a clock with a step of 1 ms",
                "the clock is coarse for these models, so that a time is the mean of up to 40 "
                "inferences in a row: percentiles are those of such means",
            ],
        ),
        (
            {"gpu": {"software": True}},
            {"engine": "webgpu", "hidden": True},
            [
                "the page was in the background while it measured: browsers slow it down then",
                "WebGPU runs in software here: numbers count, times say nothing",
            ],
        ),
    ],
)
def test_what_may_blur_a_time_is_told(facts, seen, expected):
    assert warnings({**FACTS, **facts}, seen) == expected
