"""A kit is made in one step, and takes the place of an older one that nobody changed."""

import json
import shutil
from pathlib import Path

import pytest

from edgetransfer.bundle.files import digest_of
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.readers import read_description
from edgetransfer.errors import UnsupportedError
from edgetransfer.kits import model_folder
from edgetransfer.kits.files.linux.edge_model import lines_of, read_settings
from tests.pipeline.kits.conftest import LABELS


def test_the_folder_of_a_model(picture_bundle, kit):
    folder = kit(picture_bundle, "linux") / "model"
    bundle = open_bundle(picture_bundle)
    for name in ("model.onnx", "labels.txt"):
        assert (folder / name).read_bytes() == (picture_bundle / name).read_bytes()
    settings = read_settings(folder)
    assert settings["sha256"] == bundle.digest("model.onnx") == digest_of(folder / "model.onnx")
    named = {name: settings[name] for name in ("contract", "kind", "inputs", "output", "target")}
    assert named == {
        "contract": "1",
        "kind": "picture",
        "inputs": "picture",
        "output": "logits",
        "target": "this-machine",
    }
    for line in lines_of(folder / "files.tsv"):
        digest, size, name = line.split("\t")
        assert (digest, int(size)) == (digest_of(folder / name), (folder / name).stat().st_size)
    there = {each.name for each in folder.iterdir()}
    assert there == {"model.onnx", "labels.txt", "model.tsv", "files.tsv"}


def test_when_a_decision_is_accepted_was_chosen_by_the_build(picture_bundle, kit):
    """It stands in the manifest, in the metadata of the model, and in what an app reads."""
    chosen = open_bundle(picture_bundle).manifest["confidence"]
    said = read_description(picture_bundle / "model.onnx")
    settings = read_settings(kit(picture_bundle, "linux") / "model")
    for name in ("temperature", "threshold"):
        assert settings[name] == said[name] == f"{chosen[name]:.6f}"
    assert chosen["temperature"] >= 1
    assert 1 / 3 < chosen["threshold"] < 1
    assert chosen["right_accepted"] == 0.95


def test_labels_that_would_do_harm_as_code_are_labels(text_bundle, kit):
    folder = kit(text_bundle, "linux")
    assert sorted(lines_of(folder / "model" / "labels.txt")) == sorted(LABELS)
    for file in folder.rglob("*"):
        if file.is_file() and file.name != "labels.txt" and file.suffix != ".onnx":
            text = file.read_bytes().decode(errors="replace")
            assert not any(label in text for label in LABELS), file


def test_a_kit_takes_the_place_of_one_that_nobody_changed(picture_bundle, text_bundle, command):
    first = command("export", picture_bundle, "--for", "linux", "--out", "kit")
    assert first[0] == 0, first
    code, out, _ = command("export", text_bundle, "--for", "linux", "--out", "kit", "--json")
    told = json.loads(out)
    assert code == 0
    assert told["files"] == sum(each.is_file() for each in _folder(told).rglob("*"))
    assert read_settings(_folder(told) / "model")["kind"] == "text"


def test_what_compilers_and_checks_leave_is_no_change(picture_bundle, command, tmp_path):
    command("export", picture_bundle, "--for", "linux", "--out", "kit")
    for name in ("cpp/build/a.o", "__pycache__/run.pyc", "measured.json"):
        (tmp_path / "kit" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kit" / name).write_text("made")
    code, *said = command("export", picture_bundle, "--for", "linux", "--out", "kit")
    assert code == 0, said
    assert not (tmp_path / "kit" / "measured.json").exists()


def _folder(told):
    return Path(told["folder"])


@pytest.fixture
def changed(picture_bundle, command, tmp_path):
    command("export", picture_bundle, "--for", "linux", "--out", "kit")
    (tmp_path / "kit" / "run.py").write_text("mine")
    (tmp_path / "kit" / "notes").write_text("mine")
    return tmp_path / "kit"


def test_what_was_changed_stays(changed, picture_bundle, command):
    code, out, err = command("export", picture_bundle, "--for", "linux", "--out", "kit")
    assert (code, out) == (3, "")
    assert err == (
        "error: kit: stands where the kit goes, and was changed\n"
        "  found: notes, run.py\n"
        "  expected: nothing, or a kit as `edgetransfer export` wrote it\n"
        "  fix: move it away, or name another folder with --out\n"
    )
    assert (changed / "run.py").read_text() == "mine"


def test_what_is_no_kit_stays(picture_bundle, command, tmp_path):
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "thesis.txt").write_text("mine")
    code, _, err = command("export", picture_bundle, "--for", "linux", "--out", "kit")
    assert code == 3
    assert err.startswith("error: kit: stands where the kit goes\n")
    assert (tmp_path / "kit" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("words", [("export", "--for", "linux", "--out"), ("push",)])
def test_nothing_is_put_into_the_bundle(words, picture_bundle, command):
    """It would not open any more."""
    name, *options = words
    place = picture_bundle / "inside"
    code, _, err = command(name, picture_bundle, *options, place)
    assert (code, err) == (
        3,
        f"error: {place}: lies in the bundle, in which no other files may be\n"
        "  fix: name a folder beside it\n",
    )
    assert not place.exists()


def test_no_such_kit(picture_bundle, command):
    code, _, err = command("export", picture_bundle, "--for", "toaster")
    assert code == 3
    assert err.startswith("error: --for: no such kit\n  found: 'toaster'\n  expected: ")
    _, _, err = command("export", picture_bundle, "--for", "andriod")
    assert err.endswith("  fix: did you mean android?\n")


def test_a_bundle_from_before_kits(picture_bundle, command, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(picture_bundle, old)
    manifest = json.loads((old / "manifest.json").read_text())
    manifest["files"] = {k: v for k, v in manifest["files"].items() if not k.endswith(".tsv")}
    manifest.pop("seal")
    (old / "manifest.json").write_text(json.dumps(manifest))
    (old / "measure" / "golden" / "golden.tsv").unlink()
    for name in ("report.json", "report.html"):
        (old / name).unlink()
    code, _, err = command("export", old, "--for", "linux")
    assert code == 6
    assert err == (
        f"error: {old}: the bundle has no golden/golden.tsv: a version from before kits made it\n"
        "  fix: build it again\n"
    )


def test_nothing_half_made_is_left(text_bundle, command, monkeypatch, tmp_path):
    """A tokenizer that no kit has is met after the model was copied."""

    def refuse(*_):
        raise UnsupportedError("kits have no port of this tokenizer")

    monkeypatch.setattr(model_folder, "write_wordpiece", refuse)
    code, _, err = command("export", text_bundle, "--for", "linux", "--out", "kit")
    assert (code, err) == (6, "error: kits have no port of this tokenizer\n")
    assert [*tmp_path.iterdir()] == []
