"""An emulated processor computes what the real one would, and never gives a time."""

import numpy as np
import onnx
import pytest

from edgetransfer.bundle.agent_archive import pack_agent
from edgetransfer.errors import SpecError, StageError, UnsupportedError
from edgetransfer.spec import catalogue
from edgetransfer.transport import local, qemu
from edgetransfer.transport.job import Job, TimingPlan, Variant
from edgetransfer.transport.place import connect

WITHOUT_VNNI, ARM = "qemu:x86-avx2", "qemu:arm64"
EXACT = {"session.x64quantprecision": "1"}
AS_ON_ARM = {"session.qdqisint8allowed": "1"}


class Bench:
    """Runs the convolutions at places."""

    def __init__(self, folder, convolution):
        self.folder = folder
        self.agent = folder / "agent.pyz"
        pack_agent(self.agent)
        rows = np.random.default_rng(1).random((4, 4, 6, 6), dtype=np.float32)
        np.save(folder / "x.npy", rows)
        for activation in ("u8", "s8"):
            onnx.save(convolution(activation), folder / f"{activation}.onnx")

    def logits(self, place, activation, config):
        files = {"x": str(self.folder / "x.npy")}
        model = str(self.folder / f"{activation}.onnx")
        place.run(Job("outputs", (Variant("only", model, files, config=config),)), self.folder)
        return np.load(self.folder / "output-0.npy")

    def here(self, activation, config):
        return self.logits(local.Local(self.agent), activation, config)


@pytest.fixture(scope="module")
def bench(tmp_path_factory, convolution):
    return Bench(tmp_path_factory.mktemp("qemu"), convolution)


@pytest.fixture(scope="module")
def emulated(bench, prepared):
    """Connect to an emulated processor, or skip where it is not prepared."""

    def connected(where):
        prepared(where)
        return connect(where, agent=bench.agent)

    return connected


def test_without_vnni_unsigned_codes_saturate_and_the_setting_mends_it(bench, emulated):
    exact = bench.here("u8", EXACT)
    with emulated(WITHOUT_VNNI) as place:
        saturated = bench.logits(place, "u8", {})
        mended = bench.logits(place, "u8", EXACT)
    assert np.abs(saturated - exact).max() > 1
    np.testing.assert_array_equal(mended, exact)


def test_without_vnni_signed_codes_saturate_too(bench, emulated):
    with emulated(WITHOUT_VNNI) as place:
        saturated = bench.logits(place, "s8", {})
    assert np.abs(saturated - bench.here("s8", EXACT)).max() > 1


@pytest.mark.parametrize("where", [ARM, "qemu:armhf", "qemu:riscv64"])
def test_unsigned_codes_are_bit_equal_elsewhere(where, bench, emulated):
    with emulated(where) as place:
        there = bench.logits(place, "u8", {})
    np.testing.assert_array_equal(there, bench.here("u8", EXACT))


def test_signed_codes_on_arm_equal_the_oracle(bench, emulated):
    with emulated(ARM) as place:
        there = bench.logits(place, "s8", {})
    np.testing.assert_array_equal(there, bench.here("s8", AS_ON_ARM))


@pytest.mark.parametrize(
    ("where", "arch", "has", "lacks"),
    [
        (WITHOUT_VNNI, "x86_64", "avx2", ("avx512f", "avx512_vnni", "avx_vnni")),
        (ARM, "arm64", "asimddp", ("i8mm", "sve")),
    ],
)
def test_the_guest_is_described_and_not_the_machine_below(where, arch, has, lacks, emulated, bench):
    with emulated(where) as place:
        assert (place.where, place.emulated) == (where, True)
        found = place.run(Job("describe"), bench.folder)["environment"]
    preview = catalogue.preview(where.partition(":")[2])
    assert found["arch"] == arch
    assert found["cpu"].startswith(preview.emulator.program)
    assert found["cpu"].endswith(f"-cpu {preview.emulator.cpu}")
    assert has in found["isa"]
    assert not set(lacks) & set(found["isa"])
    assert found["emulator"] == found["cpu"]


def test_no_times_are_asked_of_it(bench, tmp_path):
    prepared = qemu.Emulation(catalogue.preview("arm64"), tmp_path / "absent", "10", tmp_path)
    place = qemu.Qemu("qemu:arm64", bench.agent, prepared)
    assert place.actions == {"outputs", "optimise", "describe"}
    with pytest.raises(StageError) as caught:
        place.run(Job("time", (), TimingPlan()), tmp_path)
    assert str(caught.value) == (
        "qemu:arm64: no times are taken on an emulated processor: they say nothing of any device\n"
        "  fix: time on the device itself, or on this machine (local)"
    )


def test_the_agent_itself_refuses_to_take_times(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_EMULATOR", "qemu-test 10")
    with pytest.raises(StageError) as caught:
        local.run(bench.agent, Job("time", (), TimingPlan()), tmp_path)
    assert str(caught.value).endswith(
        ".json: no times are taken on an emulated processor: they say nothing of any device "
        "(found qemu-test 10)"
    )


def test_not_prepared(bench, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Linux")
    with pytest.raises(UnsupportedError) as caught, connect(ARM, agent=bench.agent):
        pass
    assert str(caught.value) == (
        "qemu:arm64: the emulated processor is not prepared\n"
        "  fix: edgetransfer doctor --prepare qemu:arm64"
    )


def test_an_unknown_processor(bench):
    with pytest.raises(SpecError) as caught, connect("qemu:z80", agent=bench.agent):
        pass
    assert str(caught.value) == (
        "no emulated processor is called 'z80'\n"
        "  expected: arm64, armhf, riscv64, x86-avx2, or the path of a .toml file"
    )


def test_a_machine_that_cannot_emulate_it(monkeypatch):
    preview = catalogue.preview(WITHOUT_VNNI.partition(":")[2])
    monkeypatch.setattr(qemu, "architecture", lambda: "arm64")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    with pytest.raises(UnsupportedError) as caught:
        qemu.check_host(preview)
    assert str(caught.value) == (
        "qemu:x86-avx2: the processor cannot be emulated on this machine\n"
        "  found: arm64\n"
        "  expected: Linux on x86_64"
    )
