"""Encoders of texts open from a folder of transformers, with their pooling and their lengths."""

import json

import pytest
import torch

from edgetransfer.spec.preprocess import TextPreprocessing

A = [2, 4, 3]


def test_a_text_encoder_averages_over_the_tokens(bert, opened, encode):
    backbone = opened(bert, "text")
    assert backbone.feature_dim == 16
    assert backbone.preprocessing == TextPreprocessing(max_length=40)
    assert json.loads(backbone.tokenizer.read_text())["truncation"]["max_length"] == 40
    alone, padded = encode(backbone, [2, 4, 3]), encode(backbone, [2, 4, 3], [2, 4, 5, 6, 3])
    torch.testing.assert_close(alone[0], padded[0])


@pytest.mark.parametrize("model", ["T5Model", "T5EncoderModel"])
def test_of_an_encoder_and_a_decoder_the_encoder_is_taken(
    transformers, saved, opened, with_tokenizer, model, encode
):
    sizes = {"vocab_size": 9, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    folder = saved(model, "T5Config", {**sizes, "decoder_start_token_id": 0})
    with_tokenizer(folder)
    backbone = opened(folder, "text")
    alone, padded = (encode(backbone, *texts)[0] for texts in ([A], [A, [2, 4, 5, 6]]))
    torch.testing.assert_close(alone, padded)
    encoder = transformers.T5EncoderModel.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = encoder(torch.tensor([A])).last_hidden_state.mean(dim=1)[0]
    torch.testing.assert_close(alone, expected)


def test_positions_that_begin_behind_the_padding_are_fewer(
    small, saved, opened, with_tokenizer, encode
):
    sizes = {**small, "vocab_size": 9, "max_position_embeddings": 12, "pad_token_id": 1}
    folder = saved("RobertaModel", "RobertaConfig", sizes)
    with_tokenizer(folder)
    backbone = opened(folder, "text")
    assert backbone.preprocessing.max_length == 10
    assert encode(backbone, [3] * 10).shape == (1, 16)


def test_positions_without_an_end_do_not_shorten_texts(saved, opened, with_tokenizer):
    sizes = {"vocab_size": 7, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}
    folder = saved("XLNetModel", "XLNetConfig", sizes)
    with_tokenizer(folder)
    assert opened(folder, "text").preprocessing.max_length == 128


def test_a_text_network_of_unknown_width(saved, message, with_tokenizer):
    sizes = {
        "num_latents": 4,
        "d_latents": 8,
        "d_model": 8,
        "num_blocks": 1,
        "num_self_attends_per_block": 1,
        "num_self_attention_heads": 1,
        "num_cross_attention_heads": 1,
    }
    folder = saved("PerceiverModel", "PerceiverConfig", sizes)
    with_tokenizer(folder)
    assert message(folder, "text") == (
        f"--backbone {folder}: PerceiverModel does not say how wide its features are\n"
        "  expected: a text encoder with hidden_size in its configuration"
    )


def test_a_text_encoder_may_ask_for_its_class_token(transformers, bert, copied, opened, encode):
    folder = copied(bert)
    (folder / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    ids = torch.tensor([[2, 4, 5, 3]])
    with torch.no_grad():
        hidden = transformers.BertModel.from_pretrained(bert).eval()(ids).last_hidden_state
    torch.testing.assert_close(encode(opened(folder, "text"), [2, 4, 5, 3]), hidden[:, 0])


def test_a_text_encoder_without_its_tokenizer(bert, copied, message):
    folder = copied(bert)
    for name in ("preprocessor_config.json", "tokenizer.json"):
        (folder / name).unlink()
    assert message(folder, "text") == (
        f"--backbone {folder}: no tokenizer.json\n"
        "  fix: save it once: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
    )
