"""The files of a bundle work together, and alone."""

import json

import numpy as np
import onnx
import pytest

from edgetransfer.bundle.opened import open_bundle, seal
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
        "agent.pyz",
        "core.onnx",
        "fitted_on.txt",
        "golden",
        "labels.txt",
        "model.onnx",
        "preprocess.json",
        "reference.onnx",
    }
    assert onnx.load(tmp_path / "reference.onnx") == core(0)
    assert onnx.load(tmp_path / "core.onnx") == core(1)
    cases = json.loads((tmp_path / "golden" / "index.json").read_text())["cases"]
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
    assert "golden/index.json" in bundle.manifest["files"]
    assert (tmp_path / "fitted_on.txt").read_text() == "digest\n"  # all examples here have one


def test_a_bundle_of_texts_brings_its_tokenizer(text_core, tokenizer, prepare_text, tmp_path):
    contract = TextPreprocessing(max_length=8, tokenizer="mine.json")
    parts = BundleParts(text_core, text_core, contract, tokenizer, ("a", "b", "c"), [])
    write_bundle(tmp_path, parts, prepare_text)
    written = PREPROCESSING.validate_json((tmp_path / "preprocess.json").read_text())
    assert written == contract.model_copy(update={"tokenizer": "tokenizer.json"})
    assert (tmp_path / written.tokenizer).read_bytes() == tokenizer.read_bytes()
    assert (tmp_path / "model.onnx").read_bytes() == (tmp_path / "core.onnx").read_bytes()
