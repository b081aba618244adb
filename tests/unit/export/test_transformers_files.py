"""What transformers reads of a bundle says the same as the bundle's own files."""

import json

import numpy as np
import pytest

from edgetransfer.backbone.files import from_transformers
from edgetransfer.data.manifest import Example
from edgetransfer.export.onnx_bundle import BundleParts, write_bundle, write_transformers_files
from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing

CONFIG = {"model_type": "vit", "hidden_size": 16, "architectures": ["ViTModel"], "auto_map": {}}
LABELS = ("ant", "bee")


@pytest.mark.parametrize(
    "contract",
    [
        ImagePreprocessing(exact=(8, 12), interpolation="nearest"),
        ImagePreprocessing(exact=(9, 9), crop=(8, 7), interpolation="bicubic", rescale=1.0),
        ImagePreprocessing(shortest_edge=10, crop=(8, 8), mean=(0.4, 0.5, 0.6)),
    ],
)
def test_the_contract_comes_back(tmp_path, contract):
    write_transformers_files(tmp_path, CONFIG, LABELS, contract)
    assert from_transformers(tmp_path / "preprocessor_config.json") == contract


def test_the_configuration_names_the_classes_and_no_class_of_another_head(tmp_path):
    write_transformers_files(tmp_path, CONFIG, LABELS, TextPreprocessing())
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "model_type": "vit",
        "hidden_size": 16,
        "id2label": {"0": "ant", "1": "bee"},
        "label2id": {"ant": 0, "bee": 1},
        "problem_type": "single_label_classification",
    }


def test_the_network_is_there_by_the_name_that_optimum_feeds(
    tmp_path, core, contract, pictures, prepare, run
):
    parts = BundleParts(core(0), core(1), contract, None, LABELS, pictures[0], config=CONFIG)
    write_bundle(tmp_path, parts, prepare)
    folder = tmp_path / "optimum"
    assert sorted(file.name for file in folder.iterdir()) == [
        "config.json",
        "model.onnx",
        "preprocessor_config.json",
    ]
    for name in ("config.json", "preprocessor_config.json"):
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes()
    prepared = prepare.prepare(pictures[0][0])["input"]
    found = run(folder / "model.onnx", pixel_values=prepared)
    np.testing.assert_array_equal(found, run(tmp_path / "measure/core.onnx", input=prepared))


def test_without_a_configuration_nothing_is_written_for_optimum(
    tmp_path, core, contract, pictures, prepare
):
    write_bundle(
        tmp_path, BundleParts(core(0), core(1), contract, None, LABELS, pictures[0]), prepare
    )
    assert not (tmp_path / "optimum").exists()


@pytest.fixture
def optimum():
    return pytest.importorskip(
        "optimum.onnxruntime", reason="the extra optimum is not installed: make test-optimum"
    )


def test_optimum_opens_a_bundle_of_texts(
    optimum, tmp_path, text_core, tokenizer, prepare_text, run
):
    config = {"model_type": "bert", "hidden_size": 16}
    contract = TextPreprocessing(max_length=8)
    parts = BundleParts(
        text_core, text_core, contract, tokenizer, ("a", "b", "c"), (), config=config
    )
    write_bundle(tmp_path, parts, prepare_text)
    inputs = prepare_text.prepare(Example("0", None, "ants and bees", "a", "train", {}, "digest"))
    model = optimum.ORTModelForSequenceClassification.from_pretrained(tmp_path)
    np.testing.assert_array_equal(model(**inputs).logits, run(text_core, **inputs))
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_optimum_opens_a_bundle_of_pictures(
    optimum, tmp_path, core, contract, pictures, prepare, run
):
    config = {"model_type": "vit", "hidden_size": 16}
    parts = BundleParts(
        core(0), core(1), contract, None, ("a", "b", "c"), pictures[0], config=config
    )
    write_bundle(tmp_path, parts, prepare)
    model = optimum.ORTModelForCustomTasks.from_pretrained(tmp_path)
    for pixels in pictures[1]:
        expected = run(tmp_path / "model.onnx", picture=pixels[None])
        np.testing.assert_array_equal(model(picture=pixels[None])["logits"], expected)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}


def test_optimum_classifies_prepared_pictures(
    optimum, tmp_path, core, contract, pictures, prepare, run
):
    """By its own class and with the preparation that transformers reads from the folder."""
    transformers = pytest.importorskip("transformers")
    config = {"model_type": "vit", "hidden_size": 16}
    parts = BundleParts(
        core(0), core(1), contract, None, ("a", "b", "c"), pictures[0], config=config
    )
    write_bundle(tmp_path, parts, prepare)
    folder = tmp_path / "optimum"
    model = optimum.ORTModelForImageClassification.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    for example, pixels in zip(*pictures, strict=True):
        prepared = prepare.prepare(example)["input"]
        expected = run(core(1), input=prepared)
        np.testing.assert_array_equal(model(pixel_values=prepared).logits, expected)
        theirs = processor(pixels, return_tensors="np")["pixel_values"]
        assert np.abs(theirs - prepared).max() < 2 / 255 / min(contract.std)
    assert model.config.id2label == {0: "a", 1: "b", 2: "c"}
