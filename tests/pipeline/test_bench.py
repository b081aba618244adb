"""Measuring a bundle again, predicting with it, and the commands that show things."""

import json
import shutil

import pytest
from PIL import Image

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.bundle.opened import open_bundle, seal
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.bench.bench import bench, golden_of
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.spec.recipe import DataSpec
from tests.pipeline.conftest import write_pictures


@pytest.fixture
def bundle(built):
    return built.folders["this-machine"]


@pytest.fixture
def command(command):
    """Return exit code and standard output."""
    return lambda *words: command(*words)[:2]


def test_labelled_data_give_the_verdict_of_the_build(bundle, built, pictures, cache, tmp_path):
    report = edgetransfer.bench(bundle, pictures, out=tmp_path / "bench")
    built_report = built.reports["this-machine"]
    assert repr(report) == f"<Report this-machine: {report['verdict']}>"
    link = f'<a href="file://{tmp_path}/bench/report.html">this-machine</a>'
    assert link in report._repr_html_()
    assert report == read_json(tmp_path / "bench" / "report.json")
    assert report["accuracy"] == built_report["accuracy"]
    assert (tmp_path / "bench" / "raw" / "candidate.times.npy").is_file()
    assert report["verdict"] == built_report["verdict"]
    assert (tmp_path / "bench" / "report.html").is_file()


def test_a_bundle_of_before_is_measured_and_predicts(bundle, built, pictures, tmp_path):
    """There all files lay beside each other."""
    old = tmp_path / "old"
    shutil.copytree(bundle, old)
    for file in (*(old / "measure").iterdir(), *old.glob("report.*"), old / "README.md"):
        if file.parent == old:
            file.unlink()  # it judged another manifest
        else:
            file.rename(old / file.name)
    (old / "measure").rmdir()
    gone = {"schema", "files", "seal", "stored_as"}
    seal(old, {k: v for k, v in open_bundle(bundle).manifest.items() if k not in gone})
    report = bench(old, DataSpec(source=str(pictures)), tmp_path / "bench", SilentReporter())
    assert report["accuracy"] == built.reports["this-machine"]["accuracy"]
    assert {gate["status"] for gate in report["gates"] if gate["name"] == "integrity"} == {"PASS"}
    assert [each.digest for each in golden_of(open_bundle(old))] == [
        each.digest for each in golden_of(open_bundle(bundle))
    ]
    picture = pictures / "test" / "disc" / "00.png"
    assert edgetransfer.predict(old, picture) == edgetransfer.predict(bundle, picture)


def test_unlabelled_data_are_judged_by_all_but_accuracy(bundle, pictures, cache, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for index, file in enumerate(sorted(pictures.glob("test/*/*.png"))[:9]):
        Image.open(file).save(folder / f"{index}.jpg")
    report = bench(bundle, DataSpec(source=str(folder)), tmp_path / "bench", SilentReporter())
    assert report["accuracy"]["reference"] is None
    assert report["agreement"]["n"] == 9
    assert report["verdict"] == "INCONCLUSIVE"


def test_mistakes_are_shown_unless_it_is_told_not_to(bundle, pictures, tmp_path):
    """Where all labels are wrong, every decision is a mistake."""
    wrong = tmp_path / "wrong"
    folders = sorted(each for each in (pictures / "test").iterdir())
    for folder, other in zip(folders, [*folders[1:], folders[0]], strict=True):
        shutil.copytree(folder, wrong / other.name)
    pages = {
        asked: edgetransfer.bench(bundle, wrong, out=tmp_path / str(asked), show_examples=asked)
        for asked in (True, False)
    }
    shown, bare = ((report.folder / "report.html").read_text() for report in pages.values())
    assert shown.count('<img alt="" src="data:image/jpeg;base64,') > 1
    assert "data:image/jpeg" not in bare


def test_examples_it_was_fitted_on_are_noticed(bundle, pictures, tmp_path):
    data = DataSpec(source=str(pictures / "train"))
    report = bench(bundle, data, tmp_path / "bench", SilentReporter())
    assert report["notes"][-1] == (
        "the model was fitted, chosen or calibrated on 36 of these 36 contents, which do not "
        "count: none is left to judge by"
    )


def test_labels_in_the_wrong_order_are_suspected(built, pictures, cache, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    folder = built.folders["this-machine"]
    for name, source in (
        ("mine.onnx", "measure/reference.onnx"),
        ("preprocess.json", "preprocess.json"),
    ):
        (own / name).write_bytes((folder / source).read_bytes())
    (own / "labels.txt").write_text("stripes\ndisc\nsquare\n")
    outcome = edgetransfer.build(
        pictures, backbone=str(own / "mine.onnx"), fit="none", max_drop=50,
        out=tmp_path / "out", cache=cache, timing="quick",
    )  # fmt: skip
    report = outcome.reports["this-machine"]
    (reason,) = (each for each in report["reasons"] if each.startswith("chance: "))
    assert report["verdict"] == "FAIL"
    assert reason.endswith(
        ": it learnt nothing that these examples show, or the labels are not in the order of its "
        "outputs"
    )


def test_without_data_the_golden_pictures_are_run(bundle, cache, tmp_path):
    report = bench(bundle, None, tmp_path / "bench", SilentReporter())
    assert report["agreement"]["n"] == 8
    assert report["latency"]["candidate"]["p50_ms"] > 0


def test_predict(bundle, pictures, command):
    file = pictures / "test" / "stripes" / "00.png"
    code, out = command("predict", bundle, file, "--json")
    (found,) = json.loads(out)
    assert code == 0
    assert found["input"] == str(file)
    assert sum(found["best"].values()) == pytest.approx(1)


def test_python_predicts_as_the_command_does(bundle, pictures, command):
    files = [pictures / "test" / "stripes" / "00.png", pictures / "test" / "disc" / "00.png"]
    _, out = command("predict", bundle, *files, "--json")
    said = [tuple(each["best"].items()) for each in json.loads(out)]
    model = edgetransfer.load(bundle)
    assert sorted(model.labels) == ["disc", "square", "stripes"]
    assert [each.best for each in model.predict(files)] == said
    assert [each.best for each in model.predict(files[0])] == said[:1]
    assert [each.best for each in edgetransfer.predict(str(bundle), map(str, files))] == said


def test_python_measures_as_the_command_does(bundle, pictures, tmp_path):
    report = edgetransfer.bench(str(bundle), pictures, out=tmp_path / "here")
    assert report["accuracy"] == read_json(bundle / "report.json")["accuracy"]
    assert read_json(tmp_path / "here" / "report.json")["verdict"] == report["verdict"]
    with pytest.raises(SpecError, match="\n  found: --group-by site\n"):
        edgetransfer.bench(bundle, pictures, out=tmp_path / "no", group_by="site")
    with pytest.raises(SpecError) as caught:
        edgetransfer.bench(bundle, sustained="soon")
    assert str(caught.value) == (
        "--sustained: not a duration\n  found: 'soon'\n  expected: a number and s, m or h: 10m"
    )


def test_c7_one_broken_picture_loses_no_answer(bundle, pictures, command, tmp_path):
    """Fault C7: a folder was ``[Errno 21]``, and one broken picture lost all answers."""
    file = pictures / "test" / "stripes" / "00.png"
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a.png").write_bytes(b"no picture")
    (tmp_path / "odd" / "b.png").write_bytes(file.read_bytes())
    code, out = command("predict", bundle, tmp_path / "odd", "/no/such.png", file, "--json")
    found = json.loads(out)
    assert code == 4
    assert ["best" in each for each in found] == [False, True, False, True]
    assert found[1]["best"] == found[3]["best"]
    assert found[0]["error"].startswith(f"{tmp_path / 'odd' / 'a.png'}: the picture cannot be read")
    assert found[2]["error"].startswith(
        "/no/such.png: not a readable picture\n  found: no such file"
    )


def test_report_shows_the_verdict_again(bundle, built, command):
    page = (bundle / "report.html").read_text()
    (bundle / "report.html").write_text("lost")
    code, out = command("report", bundle)
    assert (bundle / "report.html").read_text() == page
    assert code == 0
    assert built.reports["this-machine"]["verdict"] in out
    code, out = command("report", bundle, "--json")
    assert json.loads(out) == built.reports["this-machine"]


@pytest.mark.parametrize(
    "words",
    [["targets"], ["targets", "raspberry-pi-5"], ["backbones"], ["plan", "x", "--max-drop", "1"]],
)
def test_listings(command, words):
    code, out = command(*words)
    assert code == 0
    assert out.strip()
    code, out = command(*words, "--json")
    assert json.loads(out)


def test_cache(command, built, cache, tmp_path):
    code, out = command("cache", "list", "--cache", cache)
    assert (code, "features" in out) == (0, True)
    code, out = command("cache", "size", "--cache", tmp_path / "empty")
    assert (code, out) == (0, f"0.0 MiB in 0 stages, in {tmp_path / 'empty'}\n")
    code, out = command("cache", "clean", "--cache", cache, "--older-than", "1")
    assert (code, out) == (0, "freed 0.0 MiB\n")


def test_build_and_exit_codes(command, pictures, cache, tmp_path):
    words = ["build", pictures, "--cache", cache, "--timing", "quick", "--out", tmp_path / "out"]
    code, out = command(*words, "--max-size-mib", "0.01", "--precision", "w8a8", "--json")
    assert code == 8
    report = json.loads(out)["reports"]["this-machine"]
    assert report["verdict"] == "FAIL"
    assert any(gate["name"] == "size" and gate["status"] == "FAIL" for gate in report["gates"])
    code, out = command(*words, "--target", "raspberry-pi-4", "--max-drop", "90")
    assert (code, "UNVERIFIED  raspberry-pi-4" in out) == (0, True)
    code, out = command(*words, "--target", "raspberry-pi-4", "--max-drop", "90", "--strict")
    assert code == 11


def test_what_the_build_saw_in_its_own_data_is_not_told_again(command, bundle, pictures, tmp_path):
    report = json.loads((bundle / "report.json").read_text())
    assert "labelling" in report
    code, out = command("bench", bundle, "--data", pictures, "--out", tmp_path / "again")
    assert code == 0
    assert "decisions changed" in out
    assert "labels look wrong" not in out
    code, out = command("report", bundle)
    assert (code, "labels look wrong" in out) == (0, True)


def test_examples_are_shown_with_new_data_unless_they_are_not_to_be(command, bundle, tmp_path):
    root = write_pictures(tmp_path / "new", seed=5) / "test"
    (root / "disc").rename(root / "swapped")
    (root / "square").rename(root / "disc")
    (root / "swapped").rename(root / "square")
    pages = {}
    for option in ("--show-examples", "--no-examples"):
        out = tmp_path / option
        assert command("bench", bundle, "--data", root, option, "--out", out)[0] in (0, 8)
        report = json.loads((out / "report.json").read_text())
        assert ("notable" in report) == (option == "--show-examples")
        pages[option] = (out / "report.html").read_text()
    section = pages["--show-examples"].partition('id="examples"')[2].partition("</section>")[0]
    assert section.count('src="data:image/jpeg;base64,') == 12
    assert section.count("Label:") >= 12
    assert "data:image/jpeg" not in pages["--no-examples"]
