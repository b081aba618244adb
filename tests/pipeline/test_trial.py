"""A target that is not here races its schemes by the numbers of an emulated processor."""

import numpy as np
import onnx
import pytest

import edgetransfer
from edgetransfer.graph.hosted import open_here, run_each
from edgetransfer.measure.drift import farthest
from edgetransfer.measure.trial import Trial
from edgetransfer.pipeline.ladder import ladder as climbing
from edgetransfer.pipeline.ladder.trial import LOOKED_AT, Previewer
from edgetransfer.spec import catalogue
from edgetransfer.spec.target import SessionOptions
from edgetransfer.tasks.classification.task import TASK

TARGET, WHERE = "x86-avx2", "qemu:x86-avx2"
RUNGS = [
    *("post-training, channels equalised", "post-training"),
    *("the same, weights unsigned", "32-bit floats"),
]


class Rows:
    """Examples that are prepared already."""

    one_shape = True

    @staticmethod
    def prepare(example):
        return {"x": example}


@pytest.fixture
def overflowing(convolution, tmp_path):
    """Return a network, examples, and their logits as they should be."""
    onnx.save(convolution("u8"), tmp_path / "core.onnx")
    rows = np.random.default_rng(1).random((LOOKED_AT + 1, 4, 6, 6), dtype=np.float32)
    exact = {"session.x64quantprecision": "1"}
    host = run_each(open_here(convolution("u8"), exact), [{"x": rows}])
    return tmp_path / "core.onnx", [row[None] for row in rows], host


def test_the_hosts_numbers_stand_where_the_emulated_ones_are_the_same(
    overflowing, prepared, tmp_path
):
    prepared(WHERE)
    previewer = Previewer(catalogue.target(TARGET), Rows(), TASK, here=False)
    outputs, by = previewer.numbers(*overflowing, tmp_path)
    assert by == f"{WHERE}: bit-equal to the build host on {LOOKED_AT} examples"
    assert outputs is overflowing[2]


def test_other_numbers_are_taken_for_all_examples(overflowing, prepared, tmp_path):
    prepared(WHERE)
    unset = catalogue.target(TARGET).model_copy(update={"session": SessionOptions()})
    outputs, by = Previewer(unset, Rows(), TASK, here=False).numbers(*overflowing, tmp_path)
    assert by == f"{WHERE}: not those of the build host"
    assert outputs.examples == LOOKED_AT + 1
    assert farthest(overflowing[2], outputs)[1] > 1


def test_without_an_emulator_the_host_judges_and_says_so(overflowing, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("edgetransfer.transport.qemu.architecture", lambda: "x86_64")
    previewer = Previewer(catalogue.target(TARGET), Rows(), TASK, here=False)
    outputs, by = previewer.numbers(*overflowing, tmp_path)
    assert by == f"the build host: {WHERE} is not prepared"
    assert outputs is overflowing[2]
    assert previewer.state() == f"{WHERE}: not prepared"


@pytest.mark.parametrize(("name", "here"), [(TARGET, True), ("x86-vnni", False)])
def test_nothing_is_emulated_where_the_target_is_here_or_races_nothing(name, here):
    previewer = Previewer(catalogue.target(name), Rows(), TASK, here=here)
    assert (previewer.on, previewer.state()) == ("", "")


def test_the_race_of_a_build(pictures, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("EDGETRANSFER_CACHE", str(tmp_path))
    monkeypatch.setattr("edgetransfer.transport.qemu.architecture", lambda: "x86_64")
    monkeypatch.setattr(climbing, "matches_this_machine", lambda _: False)
    monkeypatch.setattr(Trial, "has_margin", lambda *_: False)
    done = edgetransfer.build(
        pictures, target=TARGET, out=tmp_path / "out", cache=cache, timing="quick", max_drop=30
    )
    ladder = done.reports[TARGET]["ladder"]
    assert [row["rung"] for row in ladder] == RUNGS
    assert {row["numbers_by"] for row in ladder} == {f"the build host: {WHERE} is not prepared"}
    (chosen,) = (row for row in ladder if row["shipped"])
    assert chosen["rung"] in RUNGS[:2]
    unsigned = ladder[2]
    assert unsigned["weight"] == "u8"
    assert (unsigned["flips"], unsigned["sqnr_db"]) == (chosen["flips"], chosen["sqnr_db"])
    assert "p90_ms" not in unsigned
    page = (done.folders[TARGET] / "report.html").read_text()
    assert f"numbers by the build host: {WHERE} is not prepared" in page
