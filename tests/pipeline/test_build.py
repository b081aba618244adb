"""One command: a folder of pictures in, a measured verdict out."""

import inspect
import json

import numpy as np
import onnx
import onnxruntime
import pytest

import edgetransfer
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.bundle.files import digests_below, read_json
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.readers import ReportForm
from edgetransfer.cli import DEBUG
from edgetransfer.errors import IntegrityError, SpecError
from edgetransfer.spec.outside import validated

BUNDLE = {
    "model.onnx", "labels.txt", "preprocess.json", "manifest.json", "report.json", "report.html",
    "README.md",
}  # fmt: skip
MEASURE = {
    "core.onnx", "reference.onnx", "golden", "agent.pyz", "fitted_on.txt", "statistics.safetensors",
}  # fmt: skip


class Stages:
    """Remembers what was done and what was kept."""

    def __init__(self):
        self.reused = {}

    def begin(self, stage):
        return lambda done, total: None

    def end(self, stage, summary, *, reused):
        assert summary
        self.reused[stage] = reused


def test_it_ends_on_a_verdict(built):
    report = built.reports["this-machine"]
    validated(ReportForm, report, "report.json")
    assert built.verdict == report["verdict"]
    assert report["reasons"]
    assert report["accuracy"]["n"] == 60
    assert report["accuracy"]["reference"] > 0.6  # chance is 0.33
    assert report["latency"]["candidate"]["p50_ms"] > 0
    assert report["end_to_end"]["candidate"]["p50_ms"] > 0
    assert report["residency"]["float_conv"] == 0
    assert report["residency"]["int8_conv"] > 0
    assert report["validity"]["measured_on_target"] is True
    assert report["validity"]["deterministic"] == {"reference": True, "candidate": True}


def test_the_bundle_is_whole_and_sealed(built):
    folder = built.folders["this-machine"]
    names = {path.name for path in folder.iterdir()}
    assert names == BUNDLE | {"measure"}
    assert {path.name for path in (folder / "measure").iterdir()} == MEASURE
    manifest = open_bundle(folder).manifest
    found = digests_below(folder)
    assert manifest["files"] == {name: found[name] for name in manifest["files"]}
    assert set(found) - set(manifest["files"]) == {"manifest.json", "report.json", "report.html"}
    assert manifest["data"]["splits"]["test"]["examples"] == 60
    assert manifest["compression"]["calibration"]["examples"] == 36
    assert manifest["seed"] == 0
    run = read_json(folder.parent / "run.json")
    stages = run["stages"]
    told = built.reports["this-machine"]["build"]
    assert told["stages"] == stages
    assert run["seconds"] >= told["seconds"] > 0
    assert run["cpu_seconds"] >= told["cpu_seconds"] > 0
    page = (folder / "report.html").read_text()
    assert "What the build took" in page
    assert f"<summary>{len(stages)} stages</summary>" in page
    assert [each["stage"] for each in stages][:3] == ["data", "backbone", "features"]
    assert {"rung", "measure"} < {each["stage"] for each in stages}
    for each in stages:
        assert set(each) == {"stage", "found", "seconds", "cpu_seconds", "peak_memory_mib"}
        assert each["seconds"] > 0
        assert each["cpu_seconds"] > 0
        assert each["peak_memory_mib"] > 50


def test_an_outcome_shows_itself(built):
    folder = built.folders["this-machine"]
    assert repr(built) == f"<Outcome this-machine: {built.verdict}>"
    assert repr(edgetransfer.load(folder)) == f"<LoadedModel {folder}: 3 labels>"
    shown = built._repr_html_()
    assert shown.startswith("<table><tr><th>target</th><th>verdict</th>")
    assert f'<a href="file://{folder}/report.html">this-machine</a>' in shown
    assert f"<td>{built.verdict}</td>" in shown


def test_the_package_names_what_is_public():
    assert dir(edgetransfer) == ["bench", "build", "load", "predict"]
    options = inspect.signature(edgetransfer.build).parameters
    assert options["verify_on"].default is None
    assert inspect.signature(edgetransfer.bench).parameters["timing"].default == "standard"


def test_where_a_build_is_verified_is_met_before_the_work(pictures, tmp_path):
    with pytest.raises(SpecError, match="no such place to measure on"):
        edgetransfer.build(pictures, out=tmp_path / "out", cache=tmp_path, verify_on="moon:1")
    assert not (tmp_path / "out").exists()


def test_golden_vectors_are_not_of_the_test_set_and_can_be_replayed(built):
    folder = built.folders["this-machine"]
    cases = read_json(folder / "measure/golden" / "index.json")["cases"]
    assert len(cases) == 8
    settings = read_json(folder / "manifest.json")["session"]["config"]
    session = OnnxSession(str(folder / "model.onnx"), config=settings)
    for case in cases:
        shape = case["picture"]["shape"]
        raw = np.fromfile(folder / "measure/golden" / case["picture"]["file"], np.uint8).reshape(
            shape
        )
        np.testing.assert_allclose(
            session.run({"picture": raw[None]})[0][0], case["core"]["logits"]
        )


def test_every_graph_that_a_build_writes_loads_without_a_warning_e8(built, cache, capfd):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 2
    files = [*built.folders["this-machine"].rglob("*.onnx"), *cache.glob("*/[!.]*/*.onnx")]
    assert {each.name for each in files} >= {"core.onnx", "model.onnx", "float.onnx"}
    for file in files:
        if (file.parent / "codes.onnx").is_file():
            continue  # another test's, with 16-bit floats around integers: no kernels on a CPU
        model = onnx.load(file)
        taken = {name for node in model.graph.node for name in node.input}
        assert {each.name for each in model.graph.initializer} <= taken, file
        onnxruntime.InferenceSession(str(file), options)
        assert capfd.readouterr().err == "", file


def test_a_changed_file_is_noticed(built, tmp_path):
    import shutil

    copy = tmp_path / "bundle"
    shutil.copytree(built.folders["this-machine"], copy)
    (copy / "labels.txt").write_text("a\nb\nc\n")
    (copy / "measure/agent.pyz").unlink()
    with pytest.raises(IntegrityError) as error:
        open_bundle(copy)
    assert str(error.value) == (
        f"{copy}: labels.txt was changed; measure/agent.pyz is missing\n"
        "  fix: build it again, or copy the bundle again"
    )


def test_a_second_run_does_nothing_again_and_says_the_same(built, pictures, cache, tmp_path):
    others = [tmp_path / name for name in (".writable", "notes.txt")]
    for file in others:
        file.write_text("the user's own")
    stages = Stages()
    again = edgetransfer.build(pictures, out=tmp_path, cache=cache, timing="quick", reporter=stages)
    assert stages.reused == {
        "time": False, "data": True, "backbone": True, "features": True, "neighbours": True,
        "probe views": True, "probe": True, "preview": True, "labels": True,
        "near duplicates": True, "fit": True,
        "trace": True, "random start": True, "soundness": True,
        "compress this-machine": True, "try this-machine": True, "export this-machine": False,
        "measure this-machine": True,
    }  # fmt: skip
    for target, report in again.reports.items():
        first, took = built.reports[target], report["build"]
        of_each_run = {"build": None, "digest": None}
        assert {**report, **of_each_run} == {**first, **of_each_run}
        names = [each["stage"] for each in took["stages"]]
        assert names == [each["stage"] for each in first["build"]["stages"]]
        assert all(each["found"] for each in took["stages"])
    first = open_bundle(built.folders["this-machine"]).manifest["files"]
    assert open_bundle(again.folders["this-machine"]).manifest["files"] == first
    assert [file.read_text() for file in others] == ["the user's own"] * 2


def test_two_targets_share_one_fit_and_the_far_one_is_unverified(built, pictures, cache, tmp_path):
    stages = Stages()
    targets = ["this-machine", "raspberry-pi-5"]
    outcome = edgetransfer.build(
        pictures, target=targets, out=tmp_path, cache=cache, timing="quick", reporter=stages
    )
    assert [stages.reused[name] for name in ("features", "probe", "trace")] == [True] * 3
    report = outcome.reports["raspberry-pi-5"]
    assert report["verdict"] == "UNVERIFIED"
    assert report["latency"]["candidate"]["p50_ms"] is None
    assert report["memory"] == {}
    assert report["residency"]["int8_conv"] is None
    assert report["accuracy"]["n"] == 60
    assert report["validity"]["measured_on_target"] is False
    folder = outcome.folders["raspberry-pi-5"]
    assert report["reasons"][1].endswith(
        f"edgetransfer bench {folder} --data {pictures} --on ssh:HOST"
    )
    assert outcome.verdict in ("UNVERIFIED", "INCONCLUSIVE", "FAIL")
    run = json.loads((tmp_path / "run.json").read_text())
    assert set(run["targets"]) == set(targets)
    for each in outcome.reports.values():
        took = [stage["stage"] for stage in each["build"]["stages"]]
        assert took.count("measure") == took.count("data") == 1
    assert [stage["stage"] for stage in run["stages"]].count("measure") == 2


@pytest.mark.parametrize(("precision", "smaller"), [("fp32", 1.0), ("fp16", 1.8)])
def test_float_precisions(pictures, cache, tmp_path, precision, smaller):
    outcome = edgetransfer.build(
        pictures, precision=precision, out=tmp_path, cache=cache, timing="quick"
    )
    report = outcome.reports["this-machine"]
    folder = outcome.folders["this-machine"]
    bundle = open_bundle(folder)
    sizes = [bundle.file(name).stat().st_size for name in ("reference.onnx", "core.onnx")]
    assert sizes[0] >= smaller * sizes[1]
    assert report["precision"] == precision
    if precision == "fp32":
        assert report["agreement"]["flips"] == 0
        assert report["numeric"]["sqnr_db"] is None
        assert not (folder / "measure/reference.onnx").exists()


def test_groups_are_reported(cache, tmp_path, pictures):
    rows = ["file,label,split,site"]
    for split in ("train", "val", "test"):
        files = sorted(pictures.glob(f"{split}/*/*.png"))
        rows += [f"{f},{f.parent.name},{split},{'AB'[i % 2]}" for i, f in enumerate(files)]
    table = tmp_path / "table.csv"
    table.write_text("\n".join(rows) + "\n")
    outcome = edgetransfer.build(
        table, group_by="site", out=tmp_path / "out", cache=cache, timing="quick"
    )
    groups = outcome.reports["this-machine"]["groups"]
    assert [(g["column"], g["value"], g["n"]) for g in groups] == [
        ("site", "A", 30),
        ("site", "B", 30),
    ]


def test_finetuning_keeps_the_epoch_that_validation_liked_best(pictures, cache, tmp_path):
    stages = Stages()
    options = {"fit": "finetune", "epochs": 2, "cache": cache, "timing": "quick"}
    outcome = edgetransfer.build(pictures, out=tmp_path / "a", reporter=stages, **options)
    fit = open_bundle(outcome.folders["this-machine"]).manifest["fit"]
    right = [value for _, value in fit["history"]]
    assert right[fit["best_epoch"]] == max(right)
    edgetransfer.build(pictures, out=tmp_path / "b", reporter=stages, **options)
    assert stages.reused["finetune"] is True


def test_an_unknown_option_of_the_api():
    with pytest.raises(
        TypeError, match=r"build\(\) has no option colour; it has adapt, also, backbone, "
    ):
        edgetransfer.build("x", colour="red")


def test_bad_values_are_named_by_their_options(tmp_path):
    with pytest.raises(SpecError) as error:
        edgetransfer.build(tmp_path, max_drop=-1, seed=-2, cache=tmp_path)
    assert str(error.value) == (
        "command line: --max-drop: should be greater than 0 (found -1); "
        "--seed: should be greater than or equal to 0 (found -2)"
    )


def test_a_build_enters_each_stage_once_and_debug_shows_them_in_order(
    built, pictures, cache, command, monkeypatch
):
    """Features are made once, and handed on."""
    monkeypatch.setenv(DEBUG, "")  # so that it is off again after this test
    code, _, told = command("build", pictures, "--cache", cache, "--timing", "quick", "--debug")
    assert code == 0
    lines = told.partition("Stages\n")[2].splitlines()
    rows = [tuple(line.rsplit(maxsplit=2)) for line in lines if line.strip()]
    names = [name.strip() for name, _, _ in rows]
    assert names[:4] == ["data", "backbone", "features", "neighbours"]
    assert names.index("trace") < names.index("rung") < names.index("trial")
    assert names[-1] == "measure"
    assert len(set(rows)) == len(rows)
    assert names.count("features") == 1
    assert {how for _, how, _ in rows} == {"cached"}
