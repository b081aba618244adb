"""Somebody's fitted classifiers open from a folder of transformers, as they are."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgetransfer.backbone import sources, transformers_folder
from edgetransfer.errors import SpecError
from edgetransfer.tasks.classification.own.own import refuse_no_answers


def test_a_fitted_picture_classifier(transformers, small, saved, pictures):
    sizes = {
        **small,
        "image_size": 32,
        "patch_size": 16,
        "id2label": {0: "bee", 1: "ant", 2: "fly"},
    }
    folder = saved("ViTForImageClassification", "ViTConfig", sizes)
    model = sources.load_fitted(sources.locate(str(folder)), "image")
    plain = transformers.ViTForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        torch.testing.assert_close(model.network(pictures), plain(pictures).logits)
    assert model.labels == ("bee", "ant", "fly")
    assert model.preprocessing.exact == (32, 32)


def test_a_fitted_classifier_without_names_of_classes(saved, small, message, monkeypatch):
    """As PVT's configuration leaves it in transformers 5.24."""
    sizes = {**small, "image_size": 32, "patch_size": 16, "num_labels": 3}
    folder = saved("ViTForImageClassification", "ViTConfig", sizes)
    opened = transformers_folder._open

    def without_names(*asked):
        network, missing = opened(*asked)
        network.config = SimpleNamespace(id2label=None)
        return network, missing

    monkeypatch.setattr(transformers_folder, "_open", without_names)
    assert message(folder, load=sources.load_fitted) == (
        f"--backbone {folder}: config.json does not name the classes\n"
        '  expected: "id2label": {"0": NAME, "1": NAME, ...}, in the order of the outputs'
    )


def test_a_fitted_text_classifier_is_told_which_input_is_which(
    transformers, saved, with_tokenizer, encode
):
    """The second of GPT-2 is not the mask; its logits are those at the last token that is none."""
    sizes = {"vocab_size": 9, "n_embd": 16, "n_layer": 1, "n_head": 2, "pad_token_id": 0}
    folder = saved("GPT2ForSequenceClassification", "GPT2Config", {**sizes, "num_labels": 3})
    with_tokenizer(folder)
    model = sources.load_fitted(sources.locate(str(folder)), "text")
    plain = transformers.GPT2ForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = plain(torch.tensor([[2, 4, 3]])).logits
    torch.testing.assert_close(encode(model, [2, 4, 3], [2, 4, 5, 6])[:1], expected)


def test_a_backbone_is_no_fitted_classifier(vit, message):
    assert message(vit, load=sources.load_fitted) == (
        f"--backbone {vit}: some weights are not in the file and would be random\n"
        "  found: classifier.bias, classifier.weight"
    )


@pytest.fixture
def head(saved, small, copied, with_tokenizer):
    """A copy of a fitted text classifier of three classes, with changes to its config.json."""

    def changed(**changes):
        sizes = {**small, "vocab_size": 9, "id2label": {0: "a", 1: "b", 2: "c"}}
        folder = copied(saved("BertForSequenceClassification", "BertConfig", sizes))
        with_tokenizer(folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **changes}))
        return folder

    return changed


FIT = "the names of the classes in config.json do not fit the outputs, each once"
ORDER = '  expected: "id2label": {"0": NAME, "1": NAME, ...}, in the order of the outputs'


@pytest.mark.parametrize(
    ("changes", "rest"),
    [
        (
            {"problem_type": "multi_label_classification"},
            "the head gives several labels to an example, which is not supported yet\n"
            "  found: problem_type = multi_label_classification\n"
            "  expected: single_label_classification of two classes or more",
        ),
        (
            {"problem_type": "regression"},
            "the head gives a number, not a class, which is not supported\n"
            "  found: problem_type = regression\n"
            "  expected: single_label_classification of two classes or more",
        ),
        (
            {"id2label": {"1": "a", "2": "b", "3": "c"}, "label2id": None},
            f"{FIT}\n  found: id2label {{1: 'a', 2: 'b', 3: 'c'}}\n{ORDER}",
        ),
        (
            {"id2label": {"0": "a", "1": "a", "2": "c"}, "label2id": None},
            f"{FIT}\n  found: id2label {{0: 'a', 1: 'a', 2: 'c'}}\n{ORDER}",
        ),
        (
            {"id2label": {"0": "a", "1": "b\nc", "2": " "}, "label2id": None},
            f"{FIT}\n  found: id2label {{0: 'a', 1: 'b\\nc', 2: ' '}}\n{ORDER}",
        ),
        (
            {"label2id": {"a": 0, "b": 2, "c": 1}},
            "id2label and label2id in config.json disagree\n"
            "  found: 'b' is 1 and 2, 'c' is 2 and 1\n"
            "  fix: correct the one that is not the order of the outputs",
        ),
        (
            {"quantization_config": {"quant_method": "gptq", "bits": 4}},
            "the model is quantised already\n"
            "  found: quantization_config in config.json: {'quant_method': 'gptq', 'bits': 4}\n"
            "  expected: the float model: the drop is measured against it",
        ),
    ],
)
def test_c6_heads_that_are_no_classifiers(head, message, changes, rest):
    """Fault C6: they were taken, or a KeyError ended the build."""
    folder = head(**changes)
    said = message(folder, "text", sources.load_fitted)
    assert said == f"--backbone {folder}: {rest}"


def respoiled(folder, change):
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: change(k, v).contiguous() for k, v in weights.items()}, folder / "model.safetensors"
    )
    return folder


@pytest.mark.parametrize(
    ("change", "rest"),
    [
        (
            lambda name, each: each * float("nan") if name == "classifier.weight" else each,
            "the weights are not finite numbers\n  found: classifier.weight\n"
            "  fix: save or download them again, from a training that did not diverge",
        ),
        (
            lambda _, each: each * 0,
            "all weights are zero\n"
            "  fix: save or download them again, from a training that did not diverge",
        ),
        (
            lambda name, each: each.view(torch.int32) if name == "classifier.weight" else each,
            "the weights are no floating point numbers of 16 bits or more\n"
            "  found: classifier.weight (I32)\n"
            "  expected: the float network: a quantised one is no reference to measure a drop "
            "against",
        ),
        (
            lambda name, each: each[:2] if name == "classifier.weight" else each,
            "some weights have another shape than config.json says\n  found: classifier.weight",
        ),
    ],
)
def test_c6_weights_that_no_training_leaves(head, message, change, rest):
    """Fault C6: zeros, NaN, and integers that the library casts without a word."""
    folder = respoiled(head(), change)
    assert message(folder, "text", sources.load_fitted) == f"--backbone {folder}: {rest}"


def test_c6_a_backbone_is_looked_through_too(bert, copied, message):
    folder = respoiled(copied(bert), lambda _, each: each * 0)
    assert "all weights are zero" in message(folder, "text")


def test_c6_outputs_that_say_nothing():
    """Fault C6: a head of zeros gives every example the same answer."""
    with pytest.raises(SpecError) as caught:
        refuse_no_answers(np.tile(np.float32([0.5, 0.25]), (6, 1)), "--backbone ./mine")
    assert str(caught.value) == (
        "--backbone ./mine: the model gives the same answer for every example\n"
        "  found: 0.5, 0.25 for 6 examples\n"
        "  fix: look for weights that are zero, or for a contract that makes all inputs alike"
    )
    refuse_no_answers(np.float32([[0.5, 0.25]]), "one example says nothing of others")
