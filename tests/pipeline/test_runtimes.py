"""One bundle in other runtimes: the same kind of report, and a runtime of one's own is one file."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import edgetransfer
from edgetransfer.agent import runtimes
from edgetransfer.agent.environment import architecture
from edgetransfer.bundle.agent_archive import add_runtime, installed_agent
from edgetransfer.errors import SpecError, StageError
from edgetransfer.measure.speed.latency import Samples
from edgetransfer.pipeline.bench.times import TimedModels
from edgetransfer.pipeline.ladder import trial
from edgetransfer.pipeline.ladder.trial import Trials
from edgetransfer.spec import catalogue
from edgetransfer.spec.target import RUNTIMES

TOY = '''"""A runtime that is ONNX Runtime under another name, and says where its layers run."""

import json
from pathlib import Path

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession

PROVIDERS = {"Toy": ("numpy",)}


def open_session(variant, tell):
    session = OnnxSession(variant["model"], threads=variant["threads"])
    session.facts = {"runtime": "toy 1.5", "provider": "Toy"}
    if variant["optimised_to"] is not None:
        layers = [{"kind": "convolution", "name": "stem", "type": "int8"}]
        Path(variant["optimised_to"]).write_text(json.dumps({"layers": layers}))
    return session
'''
BOARD = """
name = "toy-board"
title = "a board with a runtime of its own"

[runtime]
name = "toy"
provider = "Toy"
package = "toy"
min_version = "1.4"

[evidence]
status = "declared"
source = "made up"
date = "2026-11-29"
"""


@pytest.fixture
def bundle(built):
    return built.folders["this-machine"]


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """The file of a target whose runtime is a file beside it."""
    monkeypatch.setattr(runtimes, "added", {})
    before = set(RUNTIMES)
    (tmp_path / "toy.py").write_text(TOY)
    (tmp_path / "toy-board.toml").write_text(BOARD)
    add_runtime(tmp_path / "toy.py")
    yield str(tmp_path / "toy-board.toml")
    RUNTIMES.intersection_update(before)


def shape(value):
    """Return the keys of nested values, without what they hold."""
    return {k: shape(v) for k, v in value.items()} if isinstance(value, dict) else None


def test_openvino_gives_the_same_kind_of_report(bundle, pictures, tmp_path):
    pytest.importorskip("openvino")
    reports = {
        name: edgetransfer.bench(bundle, pictures, out=tmp_path / name, as_target=name)
        for name in ("openvino-cpu", "this-machine")
    }
    theirs, ours = reports.values()
    if "measured on" in " ".join(theirs["validity"]["not_the_target"]):
        pytest.skip("this machine has no AVX2")
    parts = ("accuracy", "agreement", "numeric", "latency", "residency", "memory", "size")
    assert all(shape(theirs[part]) == shape(ours[part]) for part in parts if part in ours)
    assert theirs["target"] == "openvino-cpu"
    assert theirs["validity"]["measured_on_target"]
    assert theirs["environment"]["runtime"].startswith("openvino ")
    assert ours["environment"]["runtime"].startswith("onnxruntime ")
    assert theirs["residency"]["int8_conv"] == ours["residency"]["int8_conv"] > 0
    assert theirs["residency"]["float_conv"] == 0
    told = {gate["name"]: gate for gate in theirs["gates"]}
    decided = ("contract", "integrity", "preprocessing", "export", "determinism", "residency")
    assert {told[name]["status"] for name in decided} == {"PASS"}
    assert ", opened by openvino " in told["contract"]["message"]
    assert told["fusion"]["message"] == "fusion: openvino executes no graph as it is written"
    assert theirs["numeric"]["sqnr_db"] > 20


def test_a_build_holds_the_runtimes_side_by_side(pictures, tmp_path, untimed, monkeypatch):
    pytest.importorskip("openvino")
    if architecture() != "x86_64":
        pytest.skip("there is one runtime on this processor")
    monkeypatch.setattr(Trials, "_time", untimed)
    done = edgetransfer.build(
        pictures, out=tmp_path / "out", cache=tmp_path / "cache", timing="quick"
    )
    (row,) = (row for row in done.reports["this-machine"]["ladder"] if row["shipped"])
    if "not_timed" in row:  # times beside other work may not be valid, and then there are none
        assert "runtimes" not in row
        return
    found = row["runtimes"]
    assert list(found) == ["onnxruntime", "openvino"]
    assert all(row["p50_ms"] > 0 for row in found.values())
    low, high = found["openvino"]["cpu_ci95"]
    assert low <= found["openvino"]["cpu_ratio"] <= high
    for each in found.values():
        assert each["examples"] == row["examples"]
        assert each["flips"] <= 0.1 * each["examples"]
        assert each["sqnr_db"] > 20
        assert each["accuracy"] == pytest.approx(row["accuracy"], abs=0.1)
    page = (done.folders["this-machine"] / "report.html").read_text(encoding="utf-8")
    assert "the same in openvino" in page


@pytest.fixture
def timed(tmp_path, untimed, monkeypatch):
    """Return what a trial records of times, whose `take` gets the names of what is timed."""

    def one(take):
        trials = Trials.__new__(Trials)
        trials._prepare, trials.examples, trials._here = None, (), True
        trials._shop = SimpleNamespace(
            target=catalogue.target("x86-vnni"),
            run=SimpleNamespace(recipe=SimpleNamespace(threads=None, timing="quick")),
            fitted=SimpleNamespace(graph=tmp_path / "float.onnx"),
        )

        def taken(variants, _, **__):
            cold = take([each.name for each in variants])
            rows = Samples(*np.tile(np.arange(1, 9) * 1000, (4, 1)))
            samples = {each.name: rows for each in variants}
            warm = {name: name not in cold for name in samples}
            return TimedModels(samples, {"processes": [{"warmed_up": warm, "turns": []}] * 2})

        monkeypatch.setattr(trial, "input_files", lambda *_: {})
        monkeypatch.setattr(trial, "take_times", taken)
        monkeypatch.setattr(Trials, "rivals", lambda _: [("openvino", "OpenVINO")])
        return untimed(trials, tmp_path / "core.onnx", tmp_path)

    return one


def test_a_runtime_that_does_not_take_the_graph_ends_no_build(timed):
    """It is said in the record, and the build goes on without it."""
    asked = []

    def take(names):
        asked.append(names)
        if len(names) > 2:
            raise StageError("OpenVINO does not take it", where="agent")
        return ()

    record = timed(take)
    assert asked == [["reference", "candidate", "openvino"], ["reference", "candidate"]]
    assert record["runtimes"] == {"why": "agent: OpenVINO does not take it"}
    assert record["p90_ms"] > 0


def test_a_runtime_whose_times_are_not_valid_spoils_no_others(timed):
    record = timed(lambda _: ("openvino",))
    why = "openvino did not settle in the warm-up of most processes"
    assert record["runtimes"] == {"why": why}
    assert record["p90_ms"] > 0
    record = timed(lambda _: ("candidate",))
    assert record == {"not_timed": "candidate did not settle in the warm-up of most processes"}


def test_a_runtime_of_one_file(bundle, pictures, tmp_path, toy):
    report = edgetransfer.bench(bundle, pictures, out=tmp_path / "bench", as_target=toy)
    assert report["target"] == "toy-board"
    assert report["environment"]["runtime"] == "toy 1.5"
    assert report["validity"]["not_the_target"] == []
    assert report["latency"]["candidate"]["p50_ms"] > 0
    assert report["residency"] == {"float_conv": 0, "int8_conv": 1, "float_ops": []}
    assert json.loads((tmp_path / "bench" / "report.json").read_text()) == report


def test_a_target_whose_files_are_others(bundle, tmp_path):
    with pytest.raises(SpecError) as caught:
        edgetransfer.bench(bundle, out=tmp_path / "bench", as_target="nvidia-rtx")
    assert str(caught.value) == (
        "--as-target nvidia-rtx: the target takes other files than those of this bundle\n"
        "  fix: build for it: edgetransfer build ... --target nvidia-rtx"
    )


def test_the_agent_holds_what_was_added(toy):
    assert installed_agent().parent.name == "toy"


@pytest.mark.parametrize("name", ["tensorrt.py", "my-own.py"])
def test_a_plug_in_of_a_name_that_is_taken_or_none(tmp_path, name):
    with pytest.raises(SpecError, match="not the plug-in of another runtime") as caught:
        add_runtime(tmp_path / name)
    assert f"NAME.py, a Python name that is not one of {', '.join(sorted(RUNTIMES))}" in str(
        caught.value
    )
