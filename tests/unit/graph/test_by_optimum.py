"""optimum exports classifiers that torch's exporter does not take, and says so where it cannot."""

import json

import numpy as np
import pytest
import torch

from edgetransfer.backbone import sources
from edgetransfer.errors import MissingExtraError, StageError
from edgetransfer.pipeline.fit.trace import proven, traced
from edgetransfer.tasks.classification.own import own_model
from edgetransfer.tasks.classification.own.own import take
from edgetransfer.tasks.classification.own.own_model import export

MBART = {
    "vocab_size": 20, "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16, "max_position_embeddings": 32, "num_labels": 3,
}  # fmt: skip


def test_without_optimum(tmp_path, monkeypatch):
    monkeypatch.setattr(own_model, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError) as caught:
        export(tmp_path, "text", tmp_path)
    assert str(caught.value) == (
        "exporting with optimum needs the package optimum-onnx, which is not installed\n"
        "  fix: pip install 'edgetransfer[optimum]'"
    )


@pytest.fixture
def optimum():
    pytest.importorskip(
        "optimum.exporters.onnx", reason="the extra optimum is not installed: make test-optimum"
    )


@pytest.fixture
def folder(optimum, tmp_path):
    """A classifier that torch's exporter takes for several texts at a time only."""
    import transformers
    from tokenizers import Tokenizer, models

    torch.manual_seed(0)
    network = transformers.MBartForSequenceClassification(transformers.MBartConfig(**MBART))
    network.eval().save_pretrained(tmp_path / "mbart")
    words = {f"w{index}": index for index in range(20)}
    Tokenizer(models.WordLevel(words, unk_token="w3")).save(str(tmp_path / "mbart/tokenizer.json"))
    return tmp_path / "mbart"


def test_a_classifier_that_torch_cannot_export(folder, tmp_path):
    ids = np.array([[5, 6, 7, 8, 2], [9, 4, 2, 1, 1]])
    texts = {"input_ids": ids, "attention_mask": (ids != 1).astype(np.int64)}
    model = sources.load_fitted(sources.locate(str(folder)), "text")
    with pytest.raises(StageError):
        traced(model.network, texts)
    (tmp_path / "out").mkdir()
    file = export(folder, "text", tmp_path / "out")
    batches = [{name: array[row : row + 1] for name, array in texts.items()} for row in (0, 1)]
    graph, _ = take(file, batches, 3)
    assert proven(model.network, graph, texts)["n"] == 2


def test_what_optimum_cannot_export(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "nonsense"}))
    (tmp_path / "out").mkdir()
    with pytest.raises(StageError) as caught:
        export(folder, "text", tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert lines[0] == "trace: optimum could not export the network"
    assert len(lines) == 2
    assert "nonsense" in lines[1]
