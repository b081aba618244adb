"""A bundle is opened only when every file is what its manifest says."""

import json

import pytest

from edgetransfer.bundle.opened import open_bundle, seal
from edgetransfer.errors import IntegrityError, SpecError
from edgetransfer.spec.preprocess import ImagePreprocessing

CONTRACT = ImagePreprocessing(exact=(8, 8))


@pytest.fixture
def folder(tmp_path):
    tmp_path = tmp_path / "bundle"
    (tmp_path / "golden").mkdir(parents=True)
    (tmp_path / "model.onnx").write_bytes(b"model")
    (tmp_path / "golden" / "00.bin").write_bytes(b"golden")
    (tmp_path / "labels.txt").write_text("ant\nbee\n", encoding="utf-8")
    (tmp_path / "preprocess.json").write_text(CONTRACT.model_dump_json(), encoding="utf-8")
    seal(tmp_path, {"seed": 3})
    return tmp_path


def message(folder):
    with pytest.raises(IntegrityError) as caught:
        open_bundle(folder)
    return str(caught.value)


def test_what_was_sealed_is_read_back(folder):
    bundle = open_bundle(folder)
    assert bundle.manifest["seed"] == 3
    assert sorted(bundle.manifest["files"]) == [
        "golden/00.bin",
        "labels.txt",
        "model.onnx",
        "preprocess.json",
    ]
    assert bundle.labels == ("ant", "bee")
    assert bundle.preprocessing == CONTRACT
    assert bundle.file("model.onnx").read_bytes() == b"model"


@pytest.mark.parametrize("label", ["a\u2028b", "a\x85b", "a\x0cb", "  spaced "])
def test_a_label_is_a_line_and_nothing_less(folder, label):
    (folder / "labels.txt").write_text(f"{label}\nbee\n", encoding="utf-8")
    seal(folder, {})
    assert open_bundle(folder).labels == (label, "bee")


def test_reports_may_be_written_again(folder):
    for name in ("report.json", "report.html"):
        (folder / name).write_text("first")
    seal(folder, {})
    for name in ("report.json", "report.html"):
        (folder / name).write_text("second")
    open_bundle(folder)


def test_sealing_again_changes_nothing(folder):
    before = (folder / "manifest.json").read_bytes()
    seal(folder, {"seed": 3})
    assert (folder / "manifest.json").read_bytes() == before


def test_all_that_is_missing_or_changed_is_named_at_once(folder):
    (folder / "model.onnx").write_bytes(b"Model")
    (folder / "labels.txt").write_text("bee\nant\n")
    (folder / "golden" / "00.bin").unlink()
    assert message(folder) == (
        f"{folder}: golden/00.bin is missing; labels.txt was changed; model.onnx was changed\n"
        "  fix: build it again, or copy the bundle again"
    )


def test_what_is_no_bundle(tmp_path):
    expected = "\n  expected: a folder that `edgetransfer build` wrote: OUT/TARGET"
    absent = tmp_path / "absent"
    for folder, found in ((tmp_path, "no manifest.json"), (absent, "no such folder")):
        with pytest.raises(SpecError) as error:
            open_bundle(folder)
        assert str(error.value) == f"{folder}: not a bundle\n  found: {found}{expected}"


def test_the_folder_above_a_bundle(folder):
    with pytest.raises(SpecError) as caught:
        open_bundle(folder.parent)
    assert str(caught.value).splitlines()[-1] == f"  fix: did you mean {folder}?"


@pytest.mark.parametrize(
    ("content", "found"),
    [({"schema": "edgetransfer.bundle/2"}, "'edgetransfer.bundle/2'"), ({}, "None"), ([1], "[1]")],
)
def test_a_manifest_of_another_kind(folder, content, found):
    (folder / "manifest.json").write_text(json.dumps(content))
    assert message(folder) == (
        f"{folder / 'manifest.json'}: a manifest of another kind\n"
        f"  found: {found}\n  expected: 'edgetransfer.bundle/1'"
    )


def test_a_manifest_without_digests(folder):
    (folder / "manifest.json").write_text('{"schema": "edgetransfer.bundle/1"}')
    assert message(folder) == f"{folder / 'manifest.json'}: the manifest does not list the files"


def test_a_manifest_that_is_no_json(folder):
    (folder / "manifest.json").write_text("{")
    assert message(folder).startswith(f"{folder / 'manifest.json'}: not a readable JSON file\n")
