"""A class is added to a bundle, and heads are shipped alone."""

import sys

import numpy as np
import pytest
from PIL import Image

import edgetransfer
from edgetransfer.bundle.files import read_json
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.cli import app
from edgetransfer.errors import DataError, SpecError
from edgetransfer.pipeline.adding import Addition, add_class
from edgetransfer.pipeline.heads import apply_heads, export_heads
from edgetransfer.pipeline.predict import predict
from edgetransfer.pipeline.reporter import SilentReporter

UNSEALED = {"manifest.json", "report.json", "report.html"}


@pytest.fixture(scope="module")
def bundle(pictures, cache, tmp_path_factory):
    """An int8 bundle."""
    out = tmp_path_factory.mktemp("small")
    outcome = edgetransfer.build(
        pictures, fit="probe", precision="w8a8", soundness=False, timing="quick", out=out,
        cache=cache,
    )  # fmt: skip
    return outcome.folders["this-machine"]


@pytest.fixture(scope="module")
def rings(tmp_path_factory):
    """Six pictures of a fourth shape."""
    folder, rng = tmp_path_factory.mktemp("rings"), np.random.default_rng(5)
    rows = np.mgrid[:30, :36][0]
    for index in range(6):
        upper = rows < rng.integers(13, 18)
        picture = rng.integers(0, 60, (30, 36, 3)) + upper[..., None] * rng.integers(90, 190, 3)
        Image.fromarray(picture.astype(np.uint8)).save(folder / f"{index}.png")
    return sorted(map(str, folder.glob("*.png")))


@pytest.fixture(scope="module")
def added(bundle, rings, tmp_path_factory):
    out = tmp_path_factory.mktemp("added") / "four"
    return add_class(bundle, Addition("ring", tuple(rings[:5])), out, SilentReporter())


def test_the_new_class_is_known_and_the_backbone_is_the_same(bundle, added, rings):
    old, new = open_bundle(bundle), open_bundle(added.folder)
    assert new.labels == (*old.labels, "ring")
    assert new.manifest["head"]["backbone_digest"] == old.manifest["head"]["backbone_digest"]
    assert predict(added.folder, rings[5:])[0].best[0][0] == "ring"
    assert added.record["old_examples"] == 8


def test_the_report_does_not_claim_what_was_not_measured(added):
    report = read_json(added.folder / "report.json")
    assert report["verdict"] == "UNVERIFIED"
    assert report["accuracy"]["candidate"] is None
    assert report["latency"]["candidate"]["p50_ms"] is None


def test_a_head_shipped_alone_gives_the_same_bundle(bundle, added, tmp_path):
    _, size = export_heads(added.folder, tmp_path / "head.safetensors")
    assert size < 50_000
    apply_heads(bundle, tmp_path / "head.safetensors", tmp_path / "got", SilentReporter())
    here, there = open_bundle(tmp_path / "got"), open_bundle(added.folder)
    assert here.manifest == there.manifest  # with the digest of every file


def test_a_head_of_another_backbone_is_refused(bundle, added, pictures, cache, tmp_path):
    other = edgetransfer.build(
        pictures, fit="probe", precision="fp32", soundness=False, timing="quick",
        out=tmp_path / "other", cache=cache,
    ).folders["this-machine"]  # fmt: skip
    export_heads(added.folder, tmp_path / "head.safetensors")
    with pytest.raises(SpecError, match="the head is of another backbone"):
        apply_heads(other, tmp_path / "head.safetensors", tmp_path / "got", SilentReporter())
    assert not (tmp_path / "got").exists()


def test_what_cannot_be_added_is_refused(bundle, rings, tmp_path):
    with pytest.raises(SpecError, match="the bundle has this class already"):
        add_class(bundle, Addition("disc", tuple(rings)), tmp_path / "a", SilentReporter())
    with pytest.raises(SpecError, match="exists already"):
        add_class(bundle, Addition("ring", tuple(rings)), tmp_path, SilentReporter())
    with pytest.raises(DataError, match=r"nowhere\.png"):
        add_class(bundle, Addition("ring", ("nowhere.png",)), tmp_path / "a", SilentReporter())


def test_the_command(bundle, rings, monkeypatch, capsys, tmp_path):
    out = tmp_path / "four"
    words = ["add-class", bundle, "ring", *rings[:3], "--out", out]
    monkeypatch.setattr(sys, "argv", ["edgetransfer", *map(str, words)])
    with pytest.raises(SystemExit) as stopped:
        app.main()
    assert stopped.value.code == 0
    out_text = capsys.readouterr().out
    assert f"not measured yet: edgetransfer bench {out} --data TEST_DATA" in out_text
