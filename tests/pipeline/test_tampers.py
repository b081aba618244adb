"""Thirty ways to tamper with a bundle: none runs its code, none is believed (faults A6, E1)."""

import json
import os
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import onnx
import pytest
from onnx import TensorProto

import edgetransfer
from edgetransfer.bundle.files import digest_of, digest_of_value
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.errors import EdgeTransferError, IntegrityError, SpecError, StageError


def read(folder, name="manifest.json"):
    return json.loads((folder / name).read_text(encoding="utf-8"))


def write(folder, value, name="manifest.json"):
    (folder / name).write_text(json.dumps(value), encoding="utf-8")


def reseal(folder):
    """Do what a stranger can do: list the files that are there, and seal manifest and report."""
    manifest, report = read(folder), read(folder, "report.json")
    for name in [each for each in manifest["files"] if (folder / each).is_file()]:
        manifest["files"][name] = digest_of(folder / name)
    for value, key in ((manifest, "seal"), (report, "digest")):
        value.pop(key)
        report["bundle"] = manifest.get("seal", "")
        value[key] = digest_of_value(value)
    write(folder, manifest)
    write(folder, report, "report.json")


def evil_agent(folder, canary):
    with zipfile.ZipFile(folder / "measure/agent.pyz", "w") as archive:
        archive.writestr("__main__.py", f"open({str(canary)!r}, 'w')\n")


def edit(name, *path, to):
    def tamper(folder, canary):
        del canary
        value = inner = read(folder, name)
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to
        write(folder, value, name)

    return tamper


def replace(name, content=b"x"):
    return lambda folder, canary: (folder / name).write_bytes(content)


def add(name, content="open('canary', 'w')"):
    def tamper(folder, canary):
        del canary
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)

    return tamper


def swap(one, other):
    def tamper(folder, canary):
        del canary
        kept = (folder / one).read_bytes()
        (folder / one).write_bytes((folder / other).read_bytes())
        (folder / other).write_bytes(kept)

    return tamper


def link(name, to="/etc"):
    def tamper(folder, canary):
        del canary
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(to)

    return tamper


def remove(name):
    return lambda folder, canary: (folder / name).unlink()


def labels_swapped(folder, canary):
    del canary
    lines = (folder / "labels.txt").read_text().splitlines()
    (folder / "labels.txt").write_text("\n".join([*lines[1:], lines[0]]) + "\n")


def outside_weights(folder, canary):
    del canary
    model = onnx.load(folder / "measure/core.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret.bin")
    (folder / "measure/core.onnx").write_bytes(model.SerializeToString())


def golden_name(name):
    def tamper(folder, canary):
        del canary
        index = read(folder, "measure/golden/index.json")
        index["cases"][0]["png"] = name
        write(folder, index, "measure/golden/index.json")

    return tamper


EDITED = {
    "agent replaced": evil_agent,
    "labels swapped": labels_swapped,
    "core and reference swapped": swap("measure/core.onnx", "measure/reference.onnx"),
    "model replaced": replace("model.onnx"),
    "contract emptied": replace("preprocess.json", b"{}"),
    "golden pictures swapped": swap("measure/golden/00.png", "measure/golden/01.png"),
    "fitted_on emptied": replace("measure/fitted_on.txt", b""),
    "statistics removed": remove("measure/statistics.safetensors"),
    "reference removed": remove("measure/reference.onnx"),
    "budget edited": edit("manifest.json", "recipe", "budget", "max_drop_pp", to=99.0),
    "seed edited": edit("manifest.json", "seed", to=7),
    "target edited": edit("manifest.json", "target", "title", to="a Raspberry Pi"),
    "session edited": edit("manifest.json", "session", "threads", to=2),
    "soundness edited": edit("manifest.json", "soundness", to=None),
    "files emptied": edit("manifest.json", "files", to={}),
    "seal edited": edit("manifest.json", "seal", to="0" * 64),
    "seal removed": edit("manifest.json", "seal", to=None),
    "verdict edited": edit("report.json", "verdict", to="PASS"),
    "accuracy edited": edit("report.json", "accuracy", "candidate", to=0.123),
    "reported budget edited": edit("report.json", "budget", to={}),
    "report of another bundle": edit("report.json", "bundle", to="0" * 64),
    "module added": add("sitecustomize.py"),
    "package added": add("onnxruntime/__init__.py"),
    "golden link": link("measure/golden/00.png", "/etc/passwd"),
    "bench is a link": link("bench"),
    "report page is a link": link("report.html"),
    "file beside, undeclared": edit("manifest.json", "beside", to=["sitecustomize.py"]),
}
RESEALED = {
    "weights elsewhere": outside_weights,
    "session library": edit(
        "manifest.json", "session", "config", to={"session.custom_op_library": "./evil.so"}
    ),
    "files outside": edit("manifest.json", "files", "../../secret.bin", to="0" * 64),
    "no files": edit("manifest.json", "files", to={}),
    "links, listed": link("measure/golden/00.png", "/etc/hostname"),
    "module added": add("numpy.py"),
    "provider of a stranger": edit("manifest.json", "target", "name", to="../../x"),
}


@pytest.fixture
def bundle(built, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(built.folders["this-machine"], folder)
    return folder


@pytest.fixture
def refused(command, bundle):
    """Run every command that opens a bundle; each ends with exit code 9 and writes nothing."""

    def check():
        words = (
            ("predict", bundle, "x.png"),
            ("report", bundle),
            ("head", "export", bundle, "h.safetensors"),
            ("bench", bundle, "--out", "there"),
        )
        for each in words:
            assert command(*each)[0] == 9, each

    return check


@pytest.mark.parametrize("how", EDITED)
def test_what_was_edited_is_named(bundle, tmp_path, how):
    EDITED[how](bundle, tmp_path / "canary")
    with pytest.raises(IntegrityError):
        open_bundle(bundle)
    assert not (tmp_path / "canary").exists()


def test_labels_are_held_against_those_in_the_model(bundle):
    """Swapped and sealed again, they were believed: every answer had another's name."""
    labels_swapped(bundle, None)
    reseal(bundle)
    with pytest.raises(IntegrityError) as caught:
        open_bundle(bundle)
    assert str(caught.value) == (
        f"{bundle}: labels.txt does not name the labels that model.onnx tells of\n"
        "  fix: build it again, or copy the bundle again"
    )


@pytest.mark.parametrize("how", RESEALED)
def test_what_was_resealed_reaches_nothing_outside(bundle, tmp_path, how):
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    RESEALED[how](bundle, tmp_path / "canary")
    reseal(bundle)
    with pytest.raises(EdgeTransferError):
        open_bundle(bundle)


@pytest.mark.parametrize("how", ["verdict edited", "budget edited", "module added"])
def test_every_command_that_opens_a_bundle_refuses_it(bundle, refused, tmp_path, how):
    EDITED[how](bundle, tmp_path / "canary")
    refused()
    assert not (tmp_path / "there").exists()


def test_a_verdict_that_does_not_follow_from_its_gates_is_refused(bundle, command):
    """Fault A6: a resealed report is held against its own gates."""
    held = read(bundle, "report.json")["verdict"]
    edit("report.json", "verdict", to="PASS" if held != "PASS" else "FAIL")(bundle, None)
    reseal(bundle)
    code, _, told = command("report", bundle)
    assert (code, "the verdict does not follow from the checks" in told) == (9, True)


@pytest.mark.parametrize("name", ["../labels.txt", "/etc/hostname", "absent.png", "../../x.png"])
def test_golden_names_lead_nowhere_else(bundle, command, tmp_path, name):
    golden_name(name)(bundle, None)
    reseal(bundle)
    assert command("bench", bundle, "--out", tmp_path / "there")[0] == 9


def test_code_of_a_resealed_bundle_is_never_run(bundle, command, pictures, tmp_path, monkeypatch):
    """Fault E1: `bench` started the bundle's own agent with the whole environment."""
    canary = tmp_path / "canary"
    evil_agent(bundle, canary)
    reseal(bundle)
    (tmp_path / "sitecustomize.py").write_text(f"open({str(canary)!r}, 'w')\n")
    monkeypatch.setenv("PYTHONPATH", os.curdir)
    code, out, _ = command("bench", bundle, "--out", tmp_path / "there", "--json")
    assert code in (0, 8)
    assert (
        json.loads(out)["budget"]["max_drop_pp"] == read(bundle)["recipe"]["budget"]["max_drop_pp"]
    )
    assert not canary.exists()


def test_of_two_rebuilds_one_is_refused_and_what_is_beside_stays(built, pictures, cache, tmp_path):
    """Faults E4, E5: one of two died, having swept up the other's folder; notes were deleted."""
    out = tmp_path / "out"
    shutil.copytree(built.folders["this-machine"].parent, out)
    (out / "this-machine" / "bench").mkdir()
    for name in ("notes.txt", "bench/report.json"):
        (out / "this-machine" / name).write_text("mine")
    again = partial(edgetransfer.build, pictures, out=out, cache=cache, timing="quick")
    with ThreadPoolExecutor() as pool:
        ended = [each.exception() for each in [pool.submit(again), pool.submit(again)]]
    for name in ("notes.txt", "bench/report.json"):
        assert (out / "this-machine" / name).read_text() == "mine"
    (refused,) = (error for error in ended if error is not None)
    assert isinstance(refused, StageError)
    assert "another run works in this folder" in str(refused)
    assert open_bundle(out / "this-machine").manifest["beside"] == ["notes.txt"]


def test_what_is_no_bundle_of_ours_is_not_replaced(built, pictures, cache, tmp_path):
    """Fault E4: any folder of a target's name was deleted."""
    thesis = tmp_path / "this-machine" / "thesis.tex"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    with pytest.raises(SpecError, match="stands where the bundle goes, and is no bundle of ours"):
        edgetransfer.build(pictures, out=tmp_path, cache=cache, timing="quick")
    assert thesis.read_text() == "mine"
