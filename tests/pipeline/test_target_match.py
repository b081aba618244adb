"""A1, A11: a place that is not the target is UNVERIFIED, with the reason and what verifies it."""

import json
import shlex
import sys
from dataclasses import replace

import onnx
import pytest

import edgetransfer
from edgetransfer.agent.environment import architecture
from edgetransfer.agent.runtimes import CPU
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.errors import EdgeTransferError
from edgetransfer.measure.target_match import OF_THE_DEVICE
from edgetransfer.pipeline.bench.proofs import _promised
from edgetransfer.spec import catalogue
from edgetransfer.transport.browser import place, runtime
from tests.sshd import board, served  # noqa: F401 (fixtures)

TARGETS = ("raspberry-pi-5", "android-cpu", "ios-coreml")
pytestmark = pytest.mark.skipif(
    architecture() != "x86_64" or sys.platform != "linux", reason="needs Linux on x86-64"
)


@pytest.fixture(scope="module")
def out(pictures, cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("my builds") / "of today"
    asked = {"target": TARGETS, "max_drop": 60, "max_latency_ms": 9}
    edgetransfer.build(pictures, out=out, cache=cache, timing="quick", **asked)
    return out


def report_in(folder):
    return json.loads((folder / "report.json").read_text(encoding="utf-8"))


def is_a_preview(report):
    """Say what holds of every report that was not measured on the target."""
    assert report["verdict"] == "UNVERIFIED"
    assert report["reasons"][0].endswith(": a preview")
    assert report["validity"]["measured_on_target"] is False
    assert report["validity"]["standing"] == "preview"
    assert report["latency"]["candidate"]["p50_ms"] is None
    assert not any(gate["decides"] for gate in report["gates"])
    speaking = [gate for gate in report["gates"] if gate["name"] in OF_THE_DEVICE]
    assert {"contract", "integrity", "device", "residency", "latency"} <= {
        gate["name"] for gate in speaking
    }
    assert {gate["status"] for gate in speaking} == {"NOT RUN"}
    return report["reasons"]


def test_a_build_says_what_it_was_measured_on_and_what_verifies_it(out, pictures):
    expected = {
        "raspberry-pi-5": "measured on x86_64, the target is arm64: a preview",
        "android-cpu": "measured on Linux x86_64, the target is Android arm64: a preview",
        "ios-coreml": "measured on Linux x86_64, the target is iOS arm64: a preview",
    }
    for name, first in expected.items():
        reasons = is_a_preview(report_in(out / name))
        assert reasons[0] == first
    data = shlex.quote(str(pictures))
    command = f"edgetransfer bench '{out}/{{}}' --data {data} --on {{}}"
    told = {name: report_in(out / name)["reasons"][1] for name in TARGETS}
    assert told["raspberry-pi-5"] == (
        "not measured on the target; to verify: " + command.format("raspberry-pi-5", "ssh:HOST")
    )
    assert told["android-cpu"].endswith(
        "; the preview there: " + command.format("android-cpu", "adb")
    )
    assert told["ios-coreml"] == (
        "not measured on the target; no transport measures on an iPhone or iPad yet. To verify, "
        "run the pictures of measure/golden/ in the app and hold its logits against index.json "
        "there"
    )


def test_a_raspberry_pis_bundle_on_an_x86_board(out, command, board):  # noqa: F811 (fixture)
    """As the printed command says, with the board's name for HOST."""
    told = report_in(out / "raspberry-pi-5")["reasons"][1].partition("to verify: edgetransfer ")[2]
    words = shlex.split(told.replace("ssh:HOST", "ssh:board"))
    code, shown, _ = command(*words, "--python", sys.executable)
    assert code == 0
    assert "UNVERIFIED  raspberry-pi-5" in shown
    there = report_in(out / "raspberry-pi-5" / "bench" / "ssh-board")
    assert is_a_preview(there)[0] == "measured on x86_64, the target is arm64: a preview"
    assert there["host_agreement"]["bit_equal"] is True
    assert there["environment"]["provider"] == CPU


def test_an_androids_bundle_in_a_desktops_browser(out, command, tmp_path):
    try:
        place.find()
        runtime.prepared("wasm")
    except EdgeTransferError as error:
        pytest.skip(str(error))
    code, *_ = command(
        "bench", out / "android-cpu", "--on", "browser", "--out", tmp_path, "--strict"
    )
    assert code == 11
    (first, _) = is_a_preview(report_in(tmp_path / "browser"))
    assert first.startswith("measured in a browser on Linux")
    assert first.endswith(", the target runs onnxruntime on Android: a preview")


def test_an_iphones_bundle_on_linux(out, command, tmp_path):
    code, shown, _ = command("bench", out / "ios-coreml", "--out", tmp_path)
    assert (code, "UNVERIFIED  ios-coreml" in shown) == (0, True)
    (first, _) = is_a_preview(report_in(tmp_path))
    assert first == "measured on Linux x86_64, the target is iOS arm64: a preview"


def test_a_provider_that_is_not_there_passes_nothing(out, command, tmp_path, monkeypatch):
    """The same bundle for a target of this very system, whose provider only this machine lacks."""
    real = catalogue.remembered

    def here(raw):
        return real({**raw, "device": {"os": ["linux"]}, "isa": {"arch": "x86_64"}})

    monkeypatch.setattr(catalogue, "remembered", here)
    command("bench", out / "ios-coreml", "--out", tmp_path)
    (first, _) = is_a_preview(report_in(tmp_path))
    assert first == (
        "the sessions ran on CPUExecutionProvider, the target's run on CoreMLExecutionProvider: "
        "a preview"
    )


def test_what_is_promised_of_shapes_is_shipped_and_held_by_a_gate(out):
    """A11: "static shapes" was printed, and a dynamic batch shipped."""
    assert catalogue.target("ios-coreml").static_shapes
    core = onnx.load(out / "ios-coreml" / "measure/core.onnx")
    values = (*core.graph.input, *core.graph.value_info, *core.graph.output)
    assert len(values) > 20
    for value in values:
        assert all(size.HasField("dim_value") for size in value.type.tensor_type.shape.dim), value
    free = onnx.load(out / "raspberry-pi-5" / "measure/core.onnx")
    assert free.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    bundle = open_bundle(out / "ios-coreml")
    promised = _promised(bundle, "core.onnx")[0]
    assert promised.shape[0] == 1
    assert not promised.fits(replace(promised, shape=("batch", *promised.shape[1:])))
