"""What stands behind a verdict: distinct examples that are new to a model, which is any good."""

import json
import shutil

import onnx
import pytest

from edgetransfer.bundle.files import digest_of
from edgetransfer.bundle.opened import Bundle, add_facts


@pytest.fixture
def bundle(built):
    return built.folders["this-machine"]


@pytest.fixture
def benched(bundle, command, tmp_path):
    """Bench a bundle by the command line; return exit code and report."""

    def run(data, *words, folder=bundle):
        code, out, _ = command("bench", folder, "--data", data, "--json", *words,
                               "--out", tmp_path / "bench")  # fmt: skip
        report = json.loads(out)
        assert json.loads((tmp_path / "bench" / "report.json").read_text()) == report
        return code, report

    return run


def copied(source, folder, times):
    for number in range(times):
        for file in sorted(source.glob("*/*.png")):
            (folder / file.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / file.parent.name / f"{source.name}-{number}-{file.name}")
    return folder


def gate_of(report, name):
    return next(gate for gate in report["gates"] if gate["name"] == name)


def test_a_test_set_copied_three_times_gives_the_same_verdict(benched, built, pictures, tmp_path):
    """A3: n was 180, and the bound three times as tight."""
    _, report = benched(copied(pictures / "test", tmp_path / "thrice", 3))
    once = built.reports["this-machine"]
    assert report["verdict"] == once["verdict"] != "PASS"
    assert report["accuracy"] == once["accuracy"]
    assert report["accuracy"]["n"] == 60
    assert report["examples"] == {
        "given": 180, "distinct": 60, "contradicted": 0, "known": 0, "judged": 60, "counts": True,
    }  # fmt: skip
    note = "180 examples are 60 different contents, and each counts once"
    assert note in report["notes"]
    assert note in (tmp_path / "bench" / "report.html").read_text()


def test_what_the_model_was_fitted_on_never_passes(benched, pictures, tmp_path):
    """A3: the training set, copied, gave PASS."""
    code, report = benched(copied(pictures / "train", tmp_path / "fitted", 8))
    assert (code, report["verdict"]) == (0, "INCONCLUSIVE")
    assert gate_of(report, "accuracy")["message"] == (
        "accuracy: not judged, all 36 contents were fitted, chosen or calibrated on, so that they "
        "show nothing"
    )
    assert report["examples"]["known"] == 36
    assert not report["examples"]["counts"]


def test_of_new_and_known_examples_the_new_ones_are_judged(benched, pictures, tmp_path):
    data = copied(pictures / "train", tmp_path / "mixed", 1)
    copied(pictures / "test", data, 2)
    _, report = benched(data)
    assert report["examples"]["judged"] == report["accuracy"]["n"] == 60
    assert (
        "the model was fitted, chosen or calibrated on 36 of these 96 contents, which do not "
        "count: 60 are judged" in report["notes"]
    )


def swapped(source, folder):
    names = sorted(each.name for each in source.iterdir())
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        shutil.copytree(source / name, folder / other)
    return folder


def test_swapped_labels_of_new_data_fail(benched, pictures, tmp_path):
    """A2: it was a green PASS or an open verdict, for the integers lost nothing."""
    code, report = benched(swapped(pictures / "test", tmp_path / "swapped"))
    assert (code, report["verdict"]) == (8, "FAIL")
    assert gate_of(report, "chance")["status"] == "FAIL"
    assert gate_of(report, "recorded")["status"] == "FAIL"


def test_swapped_names_of_classes_fail_although_resealed(bundle, benched, pictures, tmp_path):
    """A2: ``labels.txt`` turned, the model's metadata and the manifest made to fit."""
    folder = tmp_path / "turned"
    shutil.copytree(bundle, folder)
    labels = (folder / "labels.txt").read_text().split()
    (folder / "labels.txt").write_text("\n".join([labels[0], labels[2], labels[1]]) + "\n")
    model = onnx.load(folder / "model.onnx")
    for told in model.metadata_props:
        if told.key == "edgetransfer.labels":
            told.value = json.dumps([labels[0], labels[2], labels[1]])
    onnx.save(model, folder / "model.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("labels.txt", "model.onnx"):
        manifest["files"][name] = digest_of(folder / name)
    add_facts(Bundle(folder, manifest), {})
    (folder / "report.json").unlink()
    code, report = benched(pictures / "test", folder=folder)
    assert (code, report["verdict"]) == (8, "FAIL")
    assert gate_of(report, "recorded")["message"].endswith(
        ": significantly worse, so other labels, other pictures or another model"
    )


def test_the_accuracy_of_the_build_travels_in_the_manifest(bundle, built):
    """A2."""
    recorded = json.loads((bundle / "manifest.json").read_text())["recorded"]
    accuracy = built.reports["this-machine"]["accuracy"]
    assert (recorded["n"], recorded["score"]) == (60, accuracy["candidate"])
    assert recorded["accuracy_ci95"] == accuracy["candidate_ci95"]
    assert sum(right for right, _ in recorded["by_class"].values()) == round(
        60 * accuracy["candidate"]
    )


def test_one_content_with_two_labels_is_told_and_left_out(benched, pictures, tmp_path):
    """A3."""
    data = copied(pictures / "test", tmp_path / "contrary", 1)
    shutil.copy(next((pictures / "test" / "disc").iterdir()), data / "square" / "again.png")
    _, report = benched(data)
    assert report["examples"]["contradicted"] == 1
    assert report["accuracy"]["n"] == 59


def test_a_model_that_comes_fitted_is_judged_on_all_but_the_calibration(
    bundle, pictures, cache, tmp_path, command
):
    """A7, A8: 40 labelled pictures were 28, 6, 6; equal files were held against each other."""
    own = tmp_path / "own"
    own.mkdir()
    for source in ("measure/reference.onnx", "preprocess.json", "labels.txt"):
        shutil.copy(bundle / source, own)
    (own / "reference.onnx").rename(own / "mine.onnx")
    data = copied(pictures / "test", tmp_path / "all", 1)
    code, out, _ = command(
        "build", data, "--backbone", own / "mine.onnx", "--fit", "none", "--precision", "fp32",
        "--min-accuracy", "0.2", "--min-recall", "disc=0.999", "--timing", "quick",
        "--cache", cache, "--out", tmp_path / "out", "--json",
    )  # fmt: skip
    report = json.loads(out)["reports"]["this-machine"]
    assert report["examples"]["judged"] == 48
    assert any(
        note.startswith("the model comes fitted: 12 of 60 examples are for calibration, without "
                        "their labels, and 48 are judged on") for note in report["notes"]
    )  # fmt: skip
    assert report["identical"]
    assert gate_of(report, "accuracy")["status"] == "PASS"
    assert gate_of(report, "accuracy")["message"] == (
        "accuracy: the shipped network is the float network, byte for byte: it costs nothing, "
        "whatever the examples"
    )
    assert report["accuracy"]["ci95_pp"] == [0, 0]
    assert report["latency"]["speedup"]["ratio"] == 1
    assert gate_of(report, "min-accuracy")["status"] == "PASS"
    assert gate_of(report, "min-recall")["status"] == "INCONCLUSIVE"
    assert (code, report["verdict"]) == (0, "INCONCLUSIVE")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--min-recall", "disc"), "expected CLASS=VALUE: --min-recall cat=0.8"),
        (("--min-recall", "disc=2"), "less than 1"),
        (("--min-accuracy", "90"), "less than 1"),
        (("--min-recall", "cat=0.5"), "no such class"),
    ],
)
def test_floors_that_cannot_be_are_refused_before_the_work(
    command, pictures, cache, tmp_path, words, message
):
    code, _, told = command("build", pictures, *words, "--cache", cache, "--out", tmp_path / "out")
    assert code == 3
    assert message in told
