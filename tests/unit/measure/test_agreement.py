"""A device is held against the build host, whatever the labels."""

import numpy as np
import pytest

from edgetransfer.agent.outputs import Outputs
from edgetransfer.measure.agreement import Cure, OnHost, compare_with_host
from edgetransfer.tasks.classification.task import TASK

rng = np.random.default_rng(0)
FLOATS = rng.normal(size=(40, 5)).astype(np.float32) * 4
HOST = FLOATS + 0.1 * rng.normal(size=FLOATS.shape).astype(np.float32)


def noisy(scale, of=HOST):
    return of + scale * np.random.default_rng(1).normal(size=of.shape).astype(np.float32)


def given(rows):
    return Outputs({"logits": rows})


def compared(on_device, on_host):
    return compare_with_host(given(FLOATS), given(on_device), on_host, TASK)


def gate(on_device, cure=None, *, emulated=False):
    return compared(on_device, OnHost(given(HOST), {}, cure, emulated)).gate()


def test_an_emulated_processor_is_a_preview():
    assert (gate(HOST.copy()).code, gate(HOST.copy()).name) == ("G6", "device")
    found = gate(HOST.copy(), emulated=True)
    assert (found.code, found.name) == ("G5", "preview")
    assert found.message == "preview: all outputs of 40 examples are bit-equal to the build host's"


def test_the_same_bits_pass():
    found = gate(HOST.copy())
    assert (found.status, found.decides, found.measured) == ("PASS", True, float("inf"))
    assert found.message == ("device: all outputs of 40 examples are bit-equal to the build host's")


def test_rounding_of_floats_passes():
    found = gate(noisy(1e-5))
    assert found.status == "PASS"
    assert found.message == (
        "device: 111.8 dB from the build host's outputs, 0 of 40 decisions differ"
    )


def test_a_device_may_be_as_noisy_as_quantising_was():
    assert gate(noisy(0.1)).measured < 35
    assert gate(noisy(0.1)).status == "PASS"
    assert gate(noisy(0.2)).status == "FAIL"


def test_floats_that_differ_are_no_noise_of_quantising():
    exact = OnHost(given(FLOATS), {})
    agreement = compared(noisy(0.1, FLOATS), exact)
    assert not agreement.agrees
    assert compared(noisy(0.01, FLOATS), exact).agrees


def test_a_failure_without_a_cure_says_what_is_left():
    assert gate(noisy(2.0)).message == (
        "device: the same file computes other numbers there: against the floats 5.8 dB instead of "
        "31.1, 14 of 40 decisions differ from the build host's; no known setting fixes it: "
        "build with --precision fp32 for this device"
    )


CONFIG = {"session.x64quantprecision": "1"}
WHY = "saturation: sums stop at 16 bits"


def test_a_cure_that_was_proven_is_named():
    cure = Cure(given(HOST.copy()), CONFIG, WHY, ("old", "older"))
    assert gate(noisy(2.0), cure).message.endswith(
        "; cause: saturation: sums stop at 16 bits; with session.x64quantprecision=1 they are "
        "bit-equal: build with --target old or --target older"
    )
    near = Cure(given(noisy(0.01)), CONFIG, WHY, ("old",))
    assert "they are as near as they should be: build" in gate(noisy(2.0), near).message


def test_a_cure_that_does_not_help_is_not_promised():
    cure = Cure(given(noisy(2.0)), CONFIG, WHY, ("old",))
    assert gate(noisy(2.0), cure).message.endswith(
        "; session.x64quantprecision=1 did not fix it: build with --precision fp32 for this device"
    )


def test_numbers_that_are_none_fail():
    broken = HOST.copy()
    broken[3, 1] = np.nan
    found = gate(broken)
    assert (found.status, found.measured) == ("FAIL", None)
    assert found.message.startswith(
        "device: 1 outputs are NaN or Inf that are not on the build host; no known setting fixes it"
    )


def test_what_the_report_says():
    cure = Cure(given(HOST.copy()), CONFIG, WHY, ("old",))
    on_host = OnHost(given(HOST), {"session.qdqisint8allowed": "1"}, cure)
    row = compared(noisy(2.0), on_host).written()
    assert row.pop("max_abs") == pytest.approx(np.abs(noisy(2.0) - HOST).max())
    assert row.pop("sqnr_db") == pytest.approx(5.9, abs=0.2)
    assert row.pop("host_sqnr_db") == pytest.approx(31.1, abs=0.1)
    assert row.pop("device_sqnr_db") == pytest.approx(5.8, abs=0.1)
    assert row == {
        "n": 40,
        "bit_equal": False,
        "flips": 14,
        "host_config": {"session.qdqisint8allowed": "1"},
        "cure": {"config": CONFIG, "agrees": True, "bit_equal": True, "targets": ["old"]},
    }
