"""Bundles that kits are made of: one of pictures, and one of texts with labels that are hostile."""

import json
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

import edgetransfer
from edgetransfer.kits.kit import make_kit
from tests.pipeline.conftest import save_encoder

LABELS = ("</script><b>", '"; rm -rf /', "$x {{x}}", "\N{HONEYBEE} caf\u00e9")
WORDS = (
    "alpha bird cold dust",
    "even fish gold hill",
    "iron jump kind lamp",
    "moon nest open park",
)
COMMON = ("the", "a", "of", "and", "very")


@pytest.fixture(scope="session")
def picture_bundle(built):
    return built.folders["this-machine"]


@pytest.fixture(scope="session")
def wordpiece_encoder(shared):
    """A random BERT, with a tokenizer of BERT's kind: parts of words, lower case, no accents."""
    transformers = pytest.importorskip("transformers", reason="the extra `hf` is not installed")
    folder = shared / "wordpiece"
    with FileLock(shared / "wordpiece.lock"):
        if not folder.exists():
            _write_encoder(folder, transformers)
    return folder


def _write_encoder(folder, transformers):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*COMMON, *" ".join(WORDS).split()]
    letters = [chr(each) for each in (*range(33, 127), *range(0x4E00, 0x4E20))]
    parts = [f"##{each}" for each in (*"abcdefghijklmnopqrstuvwxyz0123456789", "ing", "st")]
    tokens = list(dict.fromkeys([*special, *words, *(each.lower() for each in letters), *parts]))
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens(special)
    ends = [(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, ends)
    folder.mkdir()
    save_encoder(folder, tokenizer, transformers)


@pytest.fixture(scope="session")
def text_bundle(shared, wordpiece_encoder, cache):
    """A model of texts whose labels would do harm where one of them was taken for code."""
    with FileLock(shared / "text-bundle.lock"):
        table = shared / "labelled.jsonl"
        if not table.exists():
            table.write_text("".join(json.dumps(row) + "\n" for row in _rows()), encoding="utf-8")
        out = shared / "text-bundle"
        if not (out / "this-machine" / "report.json").exists():
            edgetransfer.build(
                table, backbone=str(wordpiece_encoder), precision="w8a8", out=out, cache=cache,
                timing="quick", soundness=False,
            )  # fmt: skip
    return out / "this-machine"


def _rows():
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("validation", 8), ("test", 12)):
        for label, words in zip(LABELS, WORDS, strict=True):
            for number in range(count):
                picked = [*rng.choice(words.split(), 2), *rng.choice(COMMON, 3)]
                text = f"{' '.join(rng.permutation(picked))} {number}"
                yield {"text": text, "label": label, "split": split}


@pytest.fixture
def kit(tmp_path):
    """Make a kit of a bundle, and return its folder."""

    def make(bundle: Path, name: str) -> Path:
        return make_kit(bundle, name, tmp_path / f"{bundle.parent.name}-{name}").folder

    return make


@pytest.fixture(scope="session")
def linux_kits(picture_bundle, text_bundle, tmp_path_factory):
    """A kit for Linux of each kind of model, which nobody changes."""
    folder = tmp_path_factory.mktemp("linux")
    bundles = {"picture": picture_bundle, "text": text_bundle}
    return {kind: make_kit(each, "linux", folder / kind).folder for kind, each in bundles.items()}
