"""A class is added to a bundle, and heads are shipped alone."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.bundle.opened import open_bundle, seal
from edgetransfer.errors import SpecError
from edgetransfer.pipeline.api import predict
from edgetransfer.pipeline.stage.reporter import SilentReporter
from edgetransfer.tasks.classification.ship.add_class import Addition, add_class
from edgetransfer.tasks.classification.ship.heads import (
    apply_heads,
    export_heads,
    facts_of_the_backbone,
)

SHAPES = ("disc", "square", "stripes")


@pytest.fixture(scope="module")
def bundle(pictures, cache, tmp_path_factory):
    """An int8 bundle."""
    out = tmp_path_factory.mktemp("small")
    outcome = edgetransfer.build(
        pictures, fit="probe", precision="w8a8", soundness=False, timing="quick", out=out,
        cache=cache,
    )  # fmt: skip
    return outcome.folders["this-machine"]


def write(folder, bright, count=6, seed=5):
    """Write pictures that are bright in one place, and return their paths."""
    rng, rows = np.random.default_rng(seed), np.mgrid[:30, :36][0]
    folder.mkdir(parents=True)
    for index in range(count):
        inside = bright(rows, rng)[..., None] * rng.integers(90, 190, 3)
        picture = rng.integers(0, 60, (30, 36, 3)) + inside
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index}.png")
    return sorted(folder.glob("*.png"))


def upper_half(rows, rng):
    return rows < rng.integers(13, 18)


def layers(rows, rng):
    return rows // rng.integers(3, 5) % 2


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    return write(tmp_path_factory.mktemp("halves") / "half", upper_half)


@pytest.fixture(scope="module")
def added(bundle, halves, tmp_path_factory):
    out = tmp_path_factory.mktemp("added") / "four"
    inputs = tuple(map(str, halves[:5]))
    return add_class(bundle, Addition("half", inputs), out, SilentReporter())


def test_the_new_class_is_known_and_the_backbone_is_the_same(bundle, added, halves):
    old, new = open_bundle(bundle), open_bundle(added.folder)
    assert new.labels == (*old.labels, "half")
    assert new.manifest["head"]["backbone_digest"] == old.manifest["head"]["backbone_digest"]
    assert predict(added.folder, list(map(str, halves[5:])))[0].best[0][0] == "half"
    assert added.record["old_examples"] == 8


def test_a11_no_fact_of_the_old_classes_is_told_of_the_new(bundle, added):
    """Fit, export, labels, soundness and choice were those of three classes."""
    old, new = open_bundle(bundle).manifest, open_bundle(added.folder).manifest
    assert {"fit", "export", "soundness", "data"} <= old.keys()
    sealed = {"schema", "files", "beside", "seal"}
    assert new.keys() - sealed == {
        "task", "target", "recipe", "session", "compression", "backbone", "seed", "versions",
        "base", "head", "added",
    }  # fmt: skip
    assert new["base"] == {"core.onnx": old["files"]["measure/core.onnx"]}
    assert new["compression"]["ladder"] == []
    report = read_json(added.folder / "report.json")
    assert not {"labelling", "soundness", "choice", "adaptation"} & report.keys()
    assert report["reasons"] == [
        "nothing was measured of these classes yet: a preview",
        f"not measured on the target; to verify: edgetransfer bench {added.folder}",
    ]
    (export,) = [gate for gate in report["gates"] if gate["name"] == "export"]
    assert export["status"] == "NOT RUN"
    newer = {**old, "labelling": {"judged": 54}, "of a later version": 96.1}
    told = facts_of_the_backbone(replace(open_bundle(bundle), manifest=newer))
    assert told.keys() == new.keys() - sealed - {"head", "added"}


def test_the_report_does_not_claim_what_was_not_measured(added):
    report = read_json(added.folder / "report.json")
    assert report["verdict"] == "UNVERIFIED"
    assert report["accuracy"]["candidate"] is None
    assert report["latency"]["candidate"]["p50_ms"] is None


def test_a_head_of_another_backbone_is_refused(bundle, added, pictures, cache, tmp_path):
    other = edgetransfer.build(
        pictures, fit="probe", precision="fp32", soundness=False, timing="quick",
        out=tmp_path / "other", cache=cache,
    ).folders["this-machine"]  # fmt: skip
    export_heads(added.folder, tmp_path / "head.safetensors")
    with pytest.raises(SpecError, match="the head is of another backbone"):
        apply_heads(other, tmp_path / "head.safetensors", tmp_path / "got", SilentReporter())
    assert not (tmp_path / "got").exists()


def test_what_cannot_be_added_is_refused(bundle, halves, command, tmp_path):
    def refused(*words):
        code, _, error = command("add-class", bundle, *words)
        return code, error

    assert refused("disc", halves[0]) == (3, (
        "error: NAME: the bundle has this class already\n  found: 'disc'\n"
        "  fix: name another class; to fit this one again, build again\n"
    ))  # fmt: skip
    assert refused(" ", halves[0]) == (3, (
        "error: NAME: not a name of a class\n  found: ' '\n  expected: one line of text\n"
    ))  # fmt: skip
    assert refused("half", halves[0], "--out", tmp_path) == (3, (
        f"error: --out {tmp_path}: exists already, and is not written over\n"
        "  fix: name another folder, or move that one away\n"
    ))  # fmt: skip
    assert refused("half", "nowhere.png") == (4, (
        "error: nowhere.png: not a readable picture\n  found: no such file\n"
        "  expected: a whole JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF or PNM picture\n"
    ))  # fmt: skip


def without_statistics(bundle, folder):
    """Return a copy that keeps nothing of its features."""
    shutil.copytree(bundle, folder)
    for name in ("measure/statistics.safetensors", "report.json"):
        (folder / name).unlink()
    facts = open_bundle(bundle).manifest
    seal(folder, {name: value for name, value in facts.items() if name not in ("schema", "files")})
    return folder


def test_old_classes_are_checked_on_data(bundle, pictures, halves, command, tmp_path):
    shutil.copytree(pictures, tmp_path / "data")
    shutil.copytree(halves[0].parent, tmp_path / "data" / "test" / "half")
    out = tmp_path / "four"
    code, told, _ = command(
        "add-class", bundle, "half", *halves[:4], "--data", tmp_path / "data", "--json",
        "--out", out,
    )  # fmt: skip
    record = json.loads(told)
    assert code == 0
    assert record["folder"] == str(out)
    assert (record["old_examples"], record["new_examples"]) == (60, 2)
    assert record["checked_on"] == str(tmp_path / "data")
    lost = record["old_accuracy_before"] - record["old_accuracy_after"]
    assert record["old_decisions_changed"] >= 60 * lost
    assert read_json(out / "manifest.json")["added"][0]["old_examples"] == 60


def test_where_old_classes_lose_too_much_nothing_is_written(bundle, halves, command, tmp_path):
    alike = write(tmp_path / "alike", upper_half, count=20, seed=6)
    for file, said in zip(alike, predict(bundle, list(map(str, alike))), strict=True):
        (tmp_path / "data" / said.best[0][0]).mkdir(parents=True, exist_ok=True)
        file.rename(tmp_path / "data" / said.best[0][0] / file.name)
    out = tmp_path / "four"
    code, told, _ = command(
        "add-class", bundle, "half", *halves, "--data", tmp_path / "data", "--out", out
    )
    assert (code, told) == (8, (
        "\n"
        "FAIL  'half' from 6 examples\n"
        f"  20 of 20 decisions on old classes changed ({tmp_path / 'data'})\n"
        "  6 of 6 new examples are recognised by a head that did not see them [61, 100] %\n"
        "  refused: nothing was written. --max-drop allows more\n"
    ))  # fmt: skip
    assert not out.exists()


def test_a_bundle_without_statistics_takes_them_from_data(
    bundle, pictures, halves, command, tmp_path
):
    bare = without_statistics(bundle, tmp_path / "bare")
    words = ("add-class", bare, "half", *halves[:5], "--out", tmp_path / "four")
    code, _, error = command(*words)
    assert (code, error) == (4, (
        f"error: {bare}: the bundle keeps nothing of the features of its classes\n"
        "  fix: give labelled examples of the old classes: --data DATA\n"
    ))  # fmt: skip
    assert command(*words, "--data", pictures)[0] == 0
    assert open_bundle(tmp_path / "four").labels == (*SHAPES, "half")
    assert not (tmp_path / "four" / "measure" / "statistics.safetensors").exists()


def test_a_second_class(added, halves, command, tmp_path):
    lines = write(tmp_path / "layers", layers)
    out = tmp_path / "five"
    assert command("add-class", added.folder, "layers", *lines[:5], "--out", out)[0] == 0
    assert open_bundle(out).labels == (*SHAPES, "half", "layers")
    names = [each["name"] for each in open_bundle(out).manifest["added"]]
    assert names == ["half", "layers"]
    code, told, _ = command("predict", out, halves[5], lines[5], "--json")
    assert code == 0
    assert [next(iter(each["best"])) for each in json.loads(told)] == ["half", "layers"]


def test_examples_of_one_class_are_not_of_a_second(added, halves, command, tmp_path):
    code, _, error = command(
        "add-class", added.folder, "again", halves[0], "--out", tmp_path / "five"
    )
    assert (code, error) == (4, (
        f"error: {halves[0]}: examples of the new class are among those that the bundle was "
        "fitted on\n"
        "  fix: leave them out, or build again with the classes parted as they should be\n"
    ))  # fmt: skip


def test_a_head_goes_from_one_bundle_to_another(bundle, added, command, tmp_path):
    file, out = tmp_path / "heads" / "head.safetensors", tmp_path / "got"
    code, told, _ = command("head", "export", added.folder, file)
    assert (code, told) == (0, f"{file}: 4 classes, {file.stat().st_size / 1024:.1f} KiB\n")
    assert file.stat().st_size < 50_000
    code, told, _ = command("head", "apply", bundle, file, "--out", out)
    assert (code, told) == (0, (
        f"{out}: 4 classes\nnot measured yet: edgetransfer bench {out} (--data, with labelled "
        "examples, for its accuracy)\n"
    ))  # fmt: skip
    assert open_bundle(out).manifest == open_bundle(added.folder).manifest
    again = tmp_path / "again"
    code, _, error = command("head", "apply", bundle, bundle / "measure/core.onnx", "--out", again)
    assert (code, error.splitlines()[0]) == (
        9, f"error: {bundle / 'measure/core.onnx'}: not a readable head file",
    )  # fmt: skip
    assert not again.exists()


def test_an_added_bundle_is_measured(added, pictures, halves, command, tmp_path):
    shutil.copytree(pictures / "test", tmp_path / "data")
    shutil.copytree(halves[0].parent, tmp_path / "data" / "half")
    _, told, _ = command("bench", added.folder, "--data", tmp_path / "data", "--json")
    report = json.loads(told)
    # The five pictures that the class was added by do not count.
    assert (report["accuracy"]["n"], report["examples"]["known"]) == (61, 5)
    assert report["accuracy"]["candidate"] > 0.8
    assert report["latency"]["candidate"]["p50_ms"] > 0
