"""Tiny networks with random weights, saved as their libraries save them."""

import json

import numpy as np
import pytest
import torch

from edgetransfer.backbone import sources
from edgetransfer.errors import SpecError

torch.set_num_threads(1)
SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}
PICTURES = {"image_size": 32, "patch_size": 16}
CONTRACT = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ants", "and", "bees"]


@pytest.fixture
def small():
    """Sizes of a small transformer."""
    return SMALL


@pytest.fixture(scope="session")
def transformers():
    return pytest.importorskip("transformers", reason="the extra hf is not installed")


@pytest.fixture(scope="session")
def saved(transformers, tmp_path_factory):
    """Save a model class of transformers with small sizes, once a session each."""
    folders = {}

    def save(model, config, sizes=None, **options):
        key = (model, json.dumps([sizes, options]))
        if key not in folders:
            torch.manual_seed(0)
            made = getattr(transformers, config)(**(SMALL if sizes is None else sizes))
            network = getattr(transformers, model)(made, **options)
            folders[key] = tmp_path_factory.mktemp(model)
            network.save_pretrained(folders[key])
            (folders[key] / "preprocessor_config.json").write_text(json.dumps(CONTRACT))
        return folders[key]

    return save


@pytest.fixture(scope="session")
def vit(saved):
    return saved("ViTModel", "ViTConfig", {**SMALL, **PICTURES})


@pytest.fixture(scope="session")
def bert(saved):
    sizes = {**SMALL, "vocab_size": len(WORDS), "max_position_embeddings": 40}
    folder = saved("BertModel", "BertConfig", sizes)
    write_tokenizer(folder)
    return folder


def write_tokenizer(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))


@pytest.fixture
def with_tokenizer():
    return write_tokenizer


@pytest.fixture
def copied(tmp_path):
    """A copy of a folder that a test may spoil."""

    def copy(folder):
        target = tmp_path / "copy"
        target.mkdir()
        for file in folder.iterdir():
            (target / file.name).write_bytes(file.read_bytes())
        return target

    return copy


@pytest.fixture
def opened():
    """Load a folder as a backbone."""
    return lambda folder, modality="image": sources.load(sources.locate(str(folder)), modality)


@pytest.fixture
def pictures():
    return torch.from_numpy(np.random.default_rng(0).normal(size=(3, 3, 32, 32))).float()


@pytest.fixture
def message():
    """Load a folder that is refused; return what is said."""

    def of(folder, modality="image", load=sources.load, error=SpecError):
        with pytest.raises(error) as caught:
            load(sources.locate(str(folder)), modality)
        return str(caught.value)

    return of


@pytest.fixture
def encode():
    """Give token ids of several lengths to a network at once."""

    def of(backbone, *texts):
        length = max(map(len, texts))
        ids = torch.tensor([[*text, *[0] * (length - len(text))] for text in texts])
        mask = torch.tensor([[1] * len(text) + [0] * (length - len(text)) for text in texts])
        with torch.no_grad():
            return backbone.network(ids, mask)

    return of
