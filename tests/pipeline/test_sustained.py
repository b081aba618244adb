"""Minutes of work, and energy, on places that are told what to say."""

import pytest

from edgetransfer.errors import SpecError
from edgetransfer.pipeline.bench.bench import energy, sustained
from edgetransfer.transport.job import Variant

CORE = Variant("candidate", "core.onnx")


class Device:
    where, emulated, actions = "device", False, frozenset({"sustain", "energy"})

    def __init__(self, **told):
        self.told, self.jobs = told, []

    def run(self, job, out, *, progress=None):
        self.jobs.append(job)
        return {"event": "result", **self.told}


def test_sustained():
    rows = [{"at_s": 5.0 * i, "n": 9, "p50_ms": ms} for i, ms in enumerate([8, 9, 10, 10])]
    device = Device(series=rows)
    found = sustained(device, CORE, 600.0)
    assert device.jobs[0].action == "sustain"
    assert (device.jobs[0].sustained.seconds, device.jobs[0].sustained.window_s) == (600.0, 5.0)
    assert (found["seconds"], found["window_s"], found["drop_pct"]) == (600.0, 5.0, 20.0)


def test_energy():
    told = {"candidate": {"mj_per_inference": 3.5, "method": "RAPL: package-0"}}
    assert energy(Device(energy=told), [CORE]) == told


def test_an_emulated_place_is_refused():
    device = Device()
    device.emulated = True
    with pytest.raises(SpecError) as caught:
        sustained(device, CORE, 600.0)
    assert str(caught.value) == (
        "--sustained: nothing that depends on the speed of the processor can be measured there\n"
        "  found: device: an emulated processor"
    )


def test_a_place_that_does_not_know_the_action_is_refused():
    device = Device()
    device.actions = frozenset({"outputs", "time"})
    with pytest.raises(SpecError) as caught:
        energy(device, [CORE])
    assert str(caught.value) == (
        "--energy: nothing that depends on the speed of the processor can be measured there\n"
        "  found: device: a place that takes no such job"
    )
