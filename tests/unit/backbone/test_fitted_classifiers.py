"""Somebody's fitted classifiers open from a folder of transformers, as they are."""

from types import SimpleNamespace

import torch

from edgetransfer.backbone import sources, transformers_folder


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
