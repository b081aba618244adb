"""A bundle is opened only when every file is what its manifest says."""

import json
import os

import pytest
from onnx import TensorProto, helper

from edgetransfer.bundle.files import digest_of_value
from edgetransfer.bundle.opened import add_facts, open_bundle, seal, seal_report
from edgetransfer.errors import IntegrityError, SpecError
from edgetransfer.spec.preprocess import ImagePreprocessing

CONTRACT = ImagePreprocessing(exact=(8, 8))


@pytest.fixture
def folder(tmp_path, facts):
    tmp_path = tmp_path / "bundle"
    (tmp_path / "golden").mkdir(parents=True)
    for name in ("model", "core", "reference"):
        (tmp_path / f"{name}.onnx").write_bytes(name.encode())
    (tmp_path / "golden" / "00.bin").write_bytes(b"golden")
    (tmp_path / "labels.txt").write_text("ant\nbee\n", encoding="utf-8")
    (tmp_path / "preprocess.json").write_text(CONTRACT.model_dump_json(), encoding="utf-8")
    seal(tmp_path, facts)
    return tmp_path


def message(folder):
    with pytest.raises(IntegrityError) as caught:
        open_bundle(folder)
    return str(caught.value)


def test_what_was_sealed_is_read_back(folder):
    bundle = open_bundle(folder)
    assert bundle.manifest["seed"] == 3
    assert sorted(bundle.manifest["files"]) == [
        "core.onnx",
        "golden/00.bin",
        "labels.txt",
        "model.onnx",
        "preprocess.json",
        "reference.onnx",
    ]
    assert bundle.labels == ("ant", "bee")
    assert bundle.preprocessing == CONTRACT
    assert bundle.file("model.onnx").read_bytes() == b"model"


@pytest.mark.parametrize("label", ["a\u2028b", "a\x85b", "a\x0cb", "  spaced "])
def test_a_label_is_a_line_and_nothing_less(folder, facts, label):
    (folder / "labels.txt").write_text(f"{label}\nbee\n", encoding="utf-8")
    seal(folder, facts)
    assert open_bundle(folder).labels == (label, "bee")


def test_reports_may_be_written_again(folder):
    for verdict in ("PASS", "FAIL"):
        report = {"verdict": verdict, "shares": (0.1, 1e-9)}
        seal_report(report, open_bundle(folder))
        (folder / "report.json").write_text(json.dumps(report))
        (folder / "report.html").write_text(verdict)
        assert report["bundle"] == open_bundle(folder).manifest["seal"]


def test_facts_are_added_between_measuring_and_the_report(folder):
    before = open_bundle(folder)
    after = add_facts(before, {"adaptation": {"method": "norms"}})
    assert after == open_bundle(folder)
    assert (after.manifest["adaptation"], after.manifest["seed"]) == ({"method": "norms"}, 3)
    assert after.manifest["files"] == before.manifest["files"]
    report = {"verdict": "PASS"}
    seal_report(report, before)
    (folder / "report.json").write_text(json.dumps(report))
    assert message(folder).startswith(
        f"{folder}: manifest.json is not the one that report.json judged\n"
    )


@pytest.mark.parametrize("name", ["evil.py", "golden/x.bin", "optimum/a/b", ".hidden"])
def test_what_is_not_listed_is_named(folder, name):
    """Fault A6: files that the manifest does not list were ignored."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("")
    assert message(folder).startswith(f"{folder}: {name} is not listed\n")


def test_what_measurements_and_file_managers_leave_is_no_matter(folder):
    (folder / "bench" / "raw").mkdir(parents=True)
    for name in ("bench/report.json", "bench/raw/x.npy", "portability.json", "golden/.DS_Store"):
        (folder / name).write_text("{}")
    open_bundle(folder)


@pytest.mark.parametrize("name", ["bench", "golden/link", "report.html", "model.onnx", "bench/raw"])
def test_a_link_is_never_followed(folder, tmp_path, name):
    """Fault E1: a link in a bundle would be written or read through."""
    victim = tmp_path / "victim"
    victim.mkdir()
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(victim)
    assert f"{name} is a link" in message(folder)


def test_a_pipe_does_not_make_it_wait(folder):
    os.mkfifo(folder / "golden" / "pipe")
    assert message(folder).startswith(f"{folder}: golden/pipe is no file\n")


def test_an_edited_manifest_is_named(folder):
    """Fault A6: ``recipe.budget.max_drop_pp = 99`` gave PASS."""
    file = folder / "manifest.json"
    file.write_text(file.read_text().replace('"seed": 3', '"seed": 99'))
    assert message(folder).startswith(
        f"{folder}: manifest.json was edited: it is not what its seal was taken of\n"
    )


def test_an_edited_report_is_named(folder):
    """Fault A6: ``"verdict": "PASS"`` written into report.json was believed."""
    report = {"verdict": "FAIL"}
    seal_report(report, open_bundle(folder))
    (folder / "report.json").write_text(json.dumps({**report, "verdict": "PASS"}))
    assert message(folder).startswith(
        f"{folder}: report.json was edited: it is not what its digest was taken of\n"
    )
    (folder / "report.json").write_text('{"verdict": "PASS"}')
    assert "report.json carries no digest" in message(folder)


@pytest.mark.parametrize("files", [{}, {"model.onnx": "0" * 64}])
def test_a_manifest_that_lists_nothing(folder, files):
    """Fault A6: ``"files": {}`` was accepted."""
    add_facts(open_bundle(folder), {})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = files
    manifest["seal"] = digest_of_value({k: v for k, v in manifest.items() if k != "seal"})
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert "core.onnx is not listed" in message(folder)


def test_weights_in_other_files_are_refused(folder, facts, tmp_path):
    (tmp_path / "secret").write_bytes(b"\0" * 8)
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret")
    graph = helper.make_graph([], "g", [], [], initializer=[tensor])
    (folder / "core.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    seal(folder, facts)
    assert message(folder).startswith(f"{folder}: core.onnx keeps weights in other files\n")


@pytest.mark.parametrize(
    "config", [{"session.custom_op_library": "evil.so"}, {"ep.context_file_path": "/tmp/x"}, [1]]
)
def test_session_settings_that_load_or_write_files_are_refused(folder, facts, config):
    seal(folder, {**facts, "session": {"threads": 1, "config": config}})
    assert message(folder).startswith(f"{folder / 'manifest.json'}: session.config")


def test_what_is_beside_the_bundle_is_not_read(folder, facts, tmp_path):
    (folder / "notes.txt").write_text("mine")
    seal(folder, facts, ["notes.txt"])
    (folder / "notes.txt").write_text("changed")
    assert "notes.txt" not in open_bundle(folder).manifest["files"]
    for name in ("report.html", "bench"):
        seal(folder, facts, [name])
        (folder / name).symlink_to(tmp_path)
        assert f"{name} is a link" in message(folder)
        (folder / name).unlink()


def test_sealing_again_changes_nothing(folder, facts):
    before = (folder / "manifest.json").read_bytes()
    seal(folder, facts)
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
    absent, file = tmp_path / "absent", tmp_path / "model.onnx"
    file.touch()
    found_at = ((tmp_path, "no manifest.json"), (absent, "no such folder"), (file, "a file"))
    for folder, found in found_at:
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


FIX = (
    "\n  expected: as `edgetransfer build` wrote it"
    "\n  fix: build it again, or copy the bundle again"
)


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        (("files",), None, "files: should be an object"),
        (("session", "threads"), "2",
         "session.threads: should be a valid integer (found '2')"),
        (("session", "threads"), 0,
         "session.threads: should be greater than or equal to 1 (found 0)"),
        (("recipe", "budget"), {"max_drop_pp": -1},
         "recipe.budget.max_drop_pp: should be greater than 0 (found -1)"),
        (("target", "program"), "evil.sh", "target.program: no such field"),
        (("compression", "ladder"), [{}],
         "compression.ladder.0.rung: Field required; "
         "compression.ladder.0.precision: Field required; "
         "compression.ladder.0.shipped: Field required"),
        (("export",), {"max_abs": 1e300, "range": 1, "min_cosine": 1, "n": 1},
         "export.max_abs: should be less than or equal to 1000000000000 (found 1e+300)"),
    ],
)  # fmt: skip
def test_every_field_that_does_not_fit_is_told(folder, place, value, told):
    """D3: a manifest without a schema was a traceback wherever it was used."""
    file = folder / "manifest.json"
    manifest = json.loads(file.read_text())
    within = manifest
    for key in place[:-1]:
        within = within[key]
    within[place[-1]] = value
    file.write_text(json.dumps(manifest))
    assert message(folder) == f"{file}: {told}{FIX}"


def test_a_manifest_that_is_no_json(folder):
    (folder / "manifest.json").write_text("{")
    assert message(folder).startswith(f"{folder / 'manifest.json'}: not a readable manifest\n")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"ant\n\nbee\n", "labels.txt line 2: a class without a name"),
        (b"", "labels.txt line 1: a class without a name"),
        (b"ant\nbee\nant\n", "labels.txt: two classes of one name\n  found: lines 1 and 3: 'ant'"),
        ("café\nx\ncafe\u0301\n".encode(),
         "labels.txt: two classes of one name\n  found: lines 1 and 3: 'cafe\u0301'"),
        (b"ant\n\xff\n",
         "labels.txt: not a readable list of labels\n  found: not UTF-8: byte 0xff at offset 4"),
    ],
)  # fmt: skip
def test_labels_that_name_no_classes(folder, facts, content, told):
    """D3: `labels.txt` resealed with blanks, duplicates or other bytes."""
    (folder / "labels.txt").write_bytes(content)
    seal(folder, facts)
    with pytest.raises(IntegrityError) as caught:
        _ = open_bundle(folder).labels
    assert str(caught.value) == f"{folder}/{told}{FIX}"


@pytest.mark.parametrize("content", [b"\xef\xbb\xbfant\nbee\n", b"ant\r\nbee\r\n", b"ant\nbee"])
def test_labels_that_an_editor_saved_again(folder, facts, content):
    (folder / "labels.txt").write_bytes(content)
    seal(folder, facts)
    assert open_bundle(folder).labels == ("ant", "bee")


def unsealed(folder):
    """As versions from before seals left a bundle."""
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["seal"]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_bundle_from_before_seals_is_opened_and_says_that_nothing_vouches_for_it(folder):
    assert open_bundle(folder).unsealed == ""
    unsealed(folder)
    (folder / "report.json").write_text(json.dumps({"verdict": "PASS"}))
    bundle = open_bundle(folder)
    assert bundle.unsealed == (
        "the bundle carries no seal: a version from before seals made it, or it was taken off; "
        "nothing says that these files are what was built"
    )
    seal_report(report := {"verdict": "PASS"}, bundle)  # shown again, it stays a report of no seal
    (folder / "report.json").write_text(json.dumps(report))
    assert open_bundle(folder) == bundle
    (folder / "core.onnx").write_bytes(b"another")
    assert "core.onnx was changed" in message(folder)


def test_a_seal_that_was_taken_off_is_missed_by_the_report(folder):
    seal_report(report := {"verdict": "PASS"}, open_bundle(folder))
    (folder / "report.json").write_text(json.dumps(report))
    unsealed(folder)
    assert message(folder) == (
        f"{folder}: the seal of manifest.json was taken off: report.json is of one\n"
        "  fix: build it again, or copy the bundle again"
    )
