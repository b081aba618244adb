"""The files of a bundle work together, and alone."""

import json
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import onnx
import pytest

from edgetransfer.bundle.files import digest_of, digests_below
from edgetransfer.bundle.opened import open_bundle, seal
from edgetransfer.bundle.readers import read_description
from edgetransfer.errors import IntegrityError
from edgetransfer.export.onnx_bundle import BundleParts, write_bundle
from edgetransfer.graph.embed import whole_model
from edgetransfer.spec.preprocess import PREPROCESSING, TextPreprocessing


@pytest.mark.parametrize("opset", [18, 19, 20])
def test_the_whole_model_is_the_core_on_prepared_pictures(
    core, contract, pictures, prepare, run, opset
):
    network = core(opset=opset)
    whole = whole_model(network, contract)
    assert whole.opset_import[0].version == opset
    for example, pixels in zip(*pictures, strict=True):
        expected = run(network, input=prepare.prepare(example)["input"])
        np.testing.assert_allclose(run(whole, picture=pixels[None]), expected, atol=1e-5)


def test_the_whole_model_takes_several_pictures_of_one_size(core, contract, pictures, run):
    whole = whole_model(core(), contract)
    pixels = pictures[1][0]
    both = np.stack([pixels, pixels[::-1]])
    alone = [run(whole, picture=each[None]) for each in both]
    np.testing.assert_allclose(run(whole, picture=both), np.concatenate(alone), atol=1e-6)


def test_the_core_is_not_changed(core, contract):
    network, before = core(), onnx.ModelProto()
    before.CopyFrom(network)
    whole_model(network, contract)
    assert network == before


def test_texts_have_no_graph_in_front(text_core):
    assert whole_model(text_core, TextPreprocessing()) is text_core


def test_a_bundle_holds_all_that_a_device_needs(core, contract, pictures, prepare, run, tmp_path):
    parts = BundleParts(core(0), core(1), contract, None, ("été", "bee", "c d"), pictures[0])
    write_bundle(tmp_path, parts, prepare)
    assert {each.name for each in tmp_path.iterdir()} == {
        "labels.txt",
        "measure",
        "model.onnx",
        "preprocess.json",
    }
    measures = tmp_path / "measure"
    assert {each.name for each in measures.iterdir()} == {
        "agent.pyz",
        "core.onnx",
        "fitted_on.txt",
        "golden",
        "reference.onnx",
    }
    assert onnx.load(measures / "reference.onnx") == core(0)
    assert onnx.load(measures / "core.onnx") == core(1)
    cases = json.loads((measures / "golden" / "index.json").read_text())["cases"]
    for case, pixels in zip(cases, pictures[1], strict=True):
        logits = run(tmp_path / "model.onnx", picture=pixels[None])[0]
        np.testing.assert_allclose(logits, case["core"]["logits"], atol=1e-5)
    text = (tmp_path / "preprocess.json").read_text()
    assert PREPROCESSING.validate_json(text) == contract


def test_a_sealed_bundle_opens_with_the_same_labels(
    core, contract, pictures, prepare, facts, tmp_path
):
    labels = ("été", "bee", "c d")
    parts = BundleParts(
        core(0),
        core(1),
        contract,
        None,
        labels,
        pictures[0],
        fitted_on=[e.digest for e in pictures[0]],
    )
    write_bundle(tmp_path, parts, prepare)
    seal(tmp_path, facts)
    bundle = open_bundle(tmp_path)
    assert (bundle.labels, bundle.preprocessing) == (labels, contract)
    assert "measure/golden/index.json" in bundle.manifest["files"]
    assert (
        tmp_path / "measure/fitted_on.txt"
    ).read_text() == "digest\n"  # all examples here have one


def test_a_bundle_of_texts_brings_its_tokenizer(text_core, tokenizer, prepare_text, tmp_path):
    contract = TextPreprocessing(max_length=8, tokenizer="mine.json")
    parts = BundleParts(text_core, text_core, contract, tokenizer, ("a", "b", "c"), [])
    stored = write_bundle(tmp_path, parts, prepare_text)
    written = PREPROCESSING.validate_json((tmp_path / "preprocess.json").read_text())
    assert written == contract.model_copy(update={"tokenizer": "tokenizer.json"})
    assert (tmp_path / written.tokenizer).read_bytes() == tokenizer.read_bytes()
    assert stored == {"stored_as": {"core.onnx": "model.onnx", "reference.onnx": "model.onnx"}}
    assert [each.name for each in tmp_path.rglob("*.onnx")] == ["model.onnx"]


LABELS = ("été", "bee", "c d")


@pytest.fixture
def written(core, contract, pictures, prepare, tmp_path):
    """A bundle of pictures."""
    meaning = {"logits": "the higher the likelier"}
    parts = BundleParts(core(0), core(1), contract, None, LABELS, pictures[0], outputs=meaning)
    write_bundle(tmp_path, replace(parts, task="classification"), prepare)
    return tmp_path


def test_a_model_says_how_it_is_run(written, run, pictures):
    assert read_description(written / "model.onnx") == {
        "version": version("edgetransfer"),
        "task": "classification",
        "labels": list(LABELS),
        "inputs": {"picture": {"type": "uint8", "shape": ["batch", "height", "width", 3]}},
        "before": "decode it, turn it by its EXIF orientation, lay transparent pixels over white; "
        "RGB, channels last, any size",
        "inside": "resize (short side 10, bicubic, antialiased), crop to 8 x 8, normalise",
        "outputs": {"logits": "the higher the likelier"},
        "core": digest_of(written / "measure/core.onnx"),
        "reference": digest_of(written / "measure/reference.onnx"),
    }
    for name in ("core.onnx", "reference.onnx"):
        assert read_description(written / "measure" / name) is None


def test_the_same_bytes_every_time(core, contract, pictures, prepare, tmp_path):
    parts = BundleParts(core(0), core(1), contract, None, LABELS, pictures[0])
    for name in ("once", "again"):
        (tmp_path / name).mkdir()
        write_bundle(tmp_path / name, parts, prepare)
    once, again = (digests_below(tmp_path / name) for name in ("once", "again"))
    assert once == again


def test_floats_that_ship_are_stored_once(core, contract, pictures, prepare, facts, tmp_path):
    parts = BundleParts(core(), core(), contract, None, LABELS, pictures[0])
    stored = write_bundle(tmp_path, parts, prepare)
    assert stored == {"stored_as": {"reference.onnx": "core.onnx"}}
    bundle = seal(tmp_path, {**facts, **stored})
    assert bundle == open_bundle(tmp_path)
    assert bundle.file("reference.onnx") == tmp_path / "measure/core.onnx"
    assert bundle.digest("reference.onnx") == digest_of(tmp_path / "measure/core.onnx")
    assert "reference" not in read_description(tmp_path / "model.onnx")


def test_what_a_written_model_said_before_is_replaced(text_core, tokenizer, prepare_text, tmp_path):
    parts = BundleParts(text_core, text_core, TextPreprocessing(), tokenizer, ("a", "b"), [])
    folders = [tmp_path / name for name in ("once", "again")]
    for folder in folders:
        folder.mkdir()
    write_bundle(folders[0], parts, prepare_text)
    model = onnx.load(folders[0] / "model.onnx")
    write_bundle(
        folders[1], replace(parts, core=model, reference=model, labels=("c", "d")), prepare_text
    )
    assert read_description(folders[1] / "model.onnx")["labels"] == ["c", "d"]
    assert [each.name for each in folders[1].rglob("*.onnx")] == ["model.onnx"]


def described_as(folder, **changed):
    model = onnx.load(folder / "model.onnx")
    said = {each.key: each.value for each in model.metadata_props}
    said |= {f"edgetransfer.{key}": value for key, value in changed.items()}
    onnx.helper.set_model_props(model, said)
    onnx.save(model, folder / "model.onnx")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"labels": "[]"},
            "labels: List should have at least 1 item after validation, not 0 (found [])",
        ),
        ({"labels": "[1"}, "not a readable description of a model"),
        ({"labels": f'["{"x" * 2**24}"]'}, "not a readable description of a model"),
        ({"core": "x"}, "core: String should match pattern '^[0-9a-f]{64}$' (found 'x')"),
        ({"inputs": '{"picture": 1}'}, "inputs.picture: should be an object (found 1)"),
    ],
)
def test_a_description_that_is_none_is_refused(written, changed, said):
    described_as(written, **changed)
    with pytest.raises(IntegrityError) as caught:
        read_description(written / "model.onnx")
    assert str(caught.value).splitlines()[0].endswith(f"model.onnx: {said}")
