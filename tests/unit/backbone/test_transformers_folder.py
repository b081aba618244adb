"""Folders of transformers open as encoders of pictures, from their files alone."""

import json
import sys

import pytest
import torch

from edgetransfer.backbone import sources
from edgetransfer.errors import IntegrityError, MissingExtraError

VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": 32,
    "patch_size": 16,
}


@pytest.mark.parametrize(
    ("model", "config", "sizes", "dim"),
    [
        (
            "MobileNetV2Model",
            "MobileNetV2Config",
            {"depth_multiplier": 0.1, "image_size": 32, "finegrained_output": False},
            128,
        ),
        ("ViTModel", "ViTConfig", VIT, 16),
        (
            "ResNetModel",
            "ResNetConfig",
            {"embedding_size": 8, "hidden_sizes": [8, 24], "depths": [1, 1]},
            24,
        ),
    ],
)
def test_a_picture_encoder_gives_what_its_pooler_gives(
    transformers, saved, opened, pictures, model, config, sizes, dim
):
    folder = saved(model, config, sizes)
    backbone = opened(folder)
    plain = getattr(transformers, model).from_pretrained(folder)
    with torch.no_grad():
        features = backbone.network(pictures)
        pooled = plain.eval()(pictures).pooler_output.flatten(1)
    assert backbone.feature_dim == dim
    torch.testing.assert_close(features, pooled)
    assert backbone.preprocessing.exact == (32, 32)
    assert backbone.tokenizer is None
    assert not backbone.network.training
    assert {parameter.dtype for parameter in backbone.network.parameters()} == {torch.float32}


def test_without_a_pooler_it_is_the_class_token(transformers, saved, opened, pictures):
    folder = saved("ViTModel", "ViTConfig", VIT, add_pooling_layer=False)
    with torch.no_grad():
        features = opened(folder).network(pictures)
        hidden = transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()(
            pictures
        )
    torch.testing.assert_close(features, hidden.last_hidden_state[:, 0])


def test_maps_without_a_pooler_are_averaged(transformers, saved, opened, pictures):
    sizes = {
        "num_encoder_blocks": 2,
        "depths": [1, 1],
        "sr_ratios": [2, 1],
        "hidden_sizes": [8, 8],
        "patch_sizes": [7, 3],
        "strides": [4, 2],
        "num_attention_heads": [1, 2],
        "mlp_ratios": [2, 2],
    }
    folder = saved("SegformerModel", "SegformerConfig", sizes)
    with torch.no_grad():
        features = opened(folder).network(pictures)
        maps = transformers.SegformerModel.from_pretrained(folder).eval()(pictures)
    torch.testing.assert_close(features, maps.last_hidden_state.mean(dim=(2, 3)))


BOTH = {
    "vision_config": VIT,
    "text_config": {
        "vocab_size": 9,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
        "eos_token_id": 8,
    },
}


@pytest.mark.parametrize("model", ["CLIPModel", "CLIPForImageClassification", "SiglipModel"])
def test_of_pictures_and_texts_the_half_for_pictures_is_taken(
    transformers, saved, opened, pictures, model
):
    """Whether the half for texts is in the file or not."""
    folder = saved(model, f"{model.partition('For')[0].removesuffix('Model')}Config", BOTH)
    backbone = opened(folder)
    whole = getattr(transformers, model).from_pretrained(folder).eval()
    with torch.no_grad():
        expected = whole.vision_model(pictures).pooler_output
        torch.testing.assert_close(backbone.network(pictures), expected)
    assert backbone.feature_dim == 16


def test_weights_that_are_missing_in_the_half_that_is_taken(saved, message):
    folder = saved("CLIPModel", "CLIPConfig", BOTH)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 2
    (folder / "config.json").write_text(json.dumps(config))
    found = message(folder).splitlines()[1]
    assert "vision_model.encoder.layers.1." in found


def test_the_head_of_a_classifier_is_left_out(saved, opened):
    backbone = opened(saved("ViTForImageClassification", "ViTConfig", VIT))
    assert backbone.feature_dim == 16
    assert not [name for name, _ in backbone.network.named_parameters() if "classifier" in name]


@pytest.mark.parametrize(
    ("model", "config", "sizes"),
    [
        ("ViTForImageClassification", "ViTConfig", VIT),
        (
            "MobileNetV2ForImageClassification",
            "MobileNetV2Config",
            {"depth_multiplier": 0.1, "image_size": 32, "finegrained_output": False},
        ),
        (
            "ResNetForImageClassification",
            "ResNetConfig",
            {"embedding_size": 8, "hidden_sizes": [8, 24], "depths": [1, 1]},
        ),
    ],
)
def test_the_classifier_it_was_pretrained_with_is_kept_apart(
    transformers, saved, opened, pictures, model, config, sizes
):
    folder = saved(model, config, {**sizes, "num_labels": 5})
    backbone = opened(folder)
    whole = getattr(transformers, model).from_pretrained(folder).eval()
    with torch.no_grad():
        features, logits = backbone.network(pictures), whole(pictures).logits
    torch.testing.assert_close(
        torch.from_numpy(backbone.classifier.logits(features.numpy())), logits, rtol=1e-4, atol=1e-4
    )


def test_an_encoder_alone_has_no_classifier(saved, opened):
    assert opened(saved("ViTModel", "ViTConfig", VIT)).classifier is None


def test_the_licence_is_read_from_the_model_card(vit, copied, opened):
    folder = copied(vit)
    assert opened(folder).licence is None
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n")
    assert opened(folder).licence == "apache-2.0"


def test_weights_that_are_missing(vit, copied, message):
    folder = copied(vit)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    found = message(folder)
    assert found.startswith(
        f"--backbone {folder}: some weights are not in the file and would be random\n  found: "
    )
    assert "layer" in found  # transformers 4 and 5 name them differently
    assert found.count(", ") == 4


def test_weights_of_another_shape(vit, copied, message):
    folder = copied(vit)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 8}))
    lines = message(folder).splitlines()
    assert lines[0] == f"--backbone {folder}: some weights have another shape than config.json says"
    assert len(lines) == 2
    assert lines[1].startswith("  found: ")
    assert ".weight" in lines[1]


@pytest.mark.parametrize("kept", [0, 30, -100])
def test_weights_that_were_cut_short(vit, copied, message, kept):
    folder = copied(vit)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:kept])
    lines = message(folder, error=IntegrityError).splitlines()
    assert lines[0] == f"--backbone {folder}: the weights cannot be read"
    assert lines[1].startswith("  found: Error while deserializing header")
    assert lines[2:] == ["  fix: download or copy them again"]


def test_an_architecture_that_is_not_known(vit, copied, message):
    folder = copied(vit)
    (folder / "config.json").write_text('{"model_type": "nonsense"}')
    lines = message(folder).splitlines()
    assert lines[0] == f"--backbone {folder}: transformers cannot open it as AutoModel"
    assert "model type `nonsense`" in lines[1]


def test_code_in_the_folder_is_not_run(vit, copied, message):
    folder = copied(vit)
    remote = {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}
    (folder / "config.json").write_text(json.dumps({"model_type": "x", "auto_map": remote}))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    assert "contains custom code" in message(folder)
    assert not (folder / "ran").exists()


def test_a_network_that_needs_more_than_pictures(bert, message):
    lines = message(bert).splitlines()
    assert lines[0] == (f"--backbone {bert}: BertModel does not make features of pictures alone")
    assert lines[1].startswith("  found: ")
    assert lines[2:] == ["  expected: a picture encoder"]


@pytest.mark.parametrize("load", [sources.load, sources.load_fitted])
def test_an_encoder_of_the_other_kind(vit, bert, copied, message, load):
    assert message(vit, "text", load) == (
        f"--backbone {vit}: this network takes pictures, and the examples are texts"
    )
    texts = copied(bert)
    (texts / "preprocessor_config.json").unlink()
    assert message(texts, "image", load) == (
        f"--backbone {texts}: this is a text encoder, and the examples are pictures"
    )


def test_without_transformers(vit, monkeypatch, message):
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert message(vit, error=MissingExtraError) == (
        f"--backbone {vit} needs the package transformers, which is not installed\n"
        "  fix: pip install 'edgetransfer[hf]'"
    )
