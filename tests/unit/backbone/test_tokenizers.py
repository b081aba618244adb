"""A text becomes the ids that transformers' AutoTokenizer makes of it, and is cut where it ends."""

import json
import random
import shutil

import pytest

from edgetransfer.backbone import sources
from edgetransfer.data.manifest import Example
from edgetransfer.errors import SpecError
from edgetransfer.graph.prepare import TextPreparer
from edgetransfer.graph.tokens import read_tokenizer
from edgetransfer.spec.preprocess import TextPreprocessing

LETTERS = (
    "abcdeTHÉéß\u0130ıñ中文字漢あアک़\u0301\u200b\u00ad\u0000\ufffd\U0001f600‍,.!'\"-_ \t\n\u3000#"
)
HOSTILE = [
    "", " ", "\n\t \r\n", "[CLS] a [SEP]", "[MASK]", "<s> a </s> <mask>", "[UNK]", "##b", "a" * 300,
    "É e\u0301 \u0130", "中文abc漢", "\u200b\u200d\ufeff", "\x00a\x01b", "<unk><pad>[PAD]",
    "ab " * 90, "don't -- can't", "\U0001f469\u200d\U0001f680", "\u202eabc",
]  # fmt: skip
SETTINGS = [
    {},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True},
    {"tokenize_chinese_chars": False},
    {"model_max_length": 20},
    {"model_max_length": 20, "truncation_side": "left"},
    {"add_prefix_space": True},
    {"extra_special_tokens": ["<special>"]},
]


def texts():
    draw = random.Random(0)
    made = ["".join(draw.choices(LETTERS, k=draw.randint(1, 40))) for _ in range(150)]
    return [*HOSTILE, *made, *(" ".join(made[i : i + 3]) for i in range(0, 150, 5))]


def save_pieces(transformers, folder, name):
    """Save BERT's or DistilBERT's kind of tokenizer with a vocabulary of letters and words."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "The", "can"]
    letters = sorted(set(LETTERS.strip()) | set("abcdefghijklmnopqrstuvwxyz"))
    words += [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    getattr(transformers, name)(vocab=vocabulary).save_pretrained(folder)
    return len(vocabulary)


def save_bytes(transformers, folder, name):
    """Save RoBERTa's kind: merges of bytes."""
    from tokenizers.pre_tokenizers import ByteLevel

    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "an", "Ġt", "<mask>"]
    vocabulary = {word: index for index, word in enumerate(words)}
    merges = [("a", "n"), ("Ġ", "t")]
    getattr(transformers, name)(vocab=vocabulary, merges=merges).save_pretrained(folder)
    return len(vocabulary)


DISTIL = {"dim": 16, "n_heads": 2, "n_layers": 1, "hidden_dim": 16}
KINDS = {
    "BertTokenizer": ("Bert", save_pieces, {}),
    "DistilBertTokenizer": ("DistilBert", save_pieces, DISTIL),
    "RobertaTokenizer": ("Roberta", save_bytes, {"pad_token_id": 1}),
}  # fmt: skip


@pytest.fixture(scope="module", params=KINDS)
def fitted(request, transformers, small, tmp_path_factory):
    name, save, sizes = KINDS[request.param]
    folder = tmp_path_factory.mktemp(name)
    rows = save(transformers, folder, request.param)
    config = getattr(transformers, f"{name}Config")(
        **{**small, **sizes}, vocab_size=rows, max_position_embeddings=202
    )
    getattr(transformers, f"{name}ForSequenceClassification")(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def small():
    return {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16
    }  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS, ids=json.dumps)
def test_c1_ids_are_those_of_autotokenizer(fitted, transformers, tmp_path, settings):
    """Fault C1: ``tokenizer_config.json`` was not read."""
    folder = shutil.copytree(fitted, tmp_path / "folder")
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    model = sources.load_fitted(sources.locate(str(folder)), "text")
    prepare = TextPreparer(model.preprocessing, model.tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    longest = model.preprocessing.max_length
    for text in texts():
        expected = theirs(text, truncation=True, max_length=longest)
        ours = prepare.tokens(text)
        assert ours["input_ids"][0].tolist() == expected["input_ids"], repr(text)
        assert ours["attention_mask"][0].tolist() == expected["attention_mask"]


def test_c1_a_fitted_model_reads_as_far_as_it_can(fitted, tmp_path):
    """Fault C1: it was cut at 128 tokens, whatever its positions and its tokenizer say."""
    folder = shutil.copytree(fitted, tmp_path / "folder")
    model = sources.load_fitted(sources.locate(str(folder)), "text")
    positions = 200 if "Roberta" in fitted.name else 202
    assert model.preprocessing.max_length == positions
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 150}))
    model = sources.load_fitted(sources.locate(str(folder)), "text")
    assert model.preprocessing.max_length == 150
    assert json.loads(model.tokenizer.read_text())["truncation"]["max_length"] == 150


def example(text):
    return Example("row 1", None, text, "a", "train", {}, "")


def test_c1_texts_that_are_cut_are_counted(fitted):
    model = sources.load_fitted(sources.locate(str(fitted)), "text")
    contract = model.preprocessing.model_copy(update={"max_length": 9})
    prepare = TextPreparer(contract, model.tokenizer)
    short, long = example("a b"), example("a b " * 20)
    assert prepare.cut([short, short]) is None
    assert prepare.cut([short, long, short]) == (
        "1 of 3 texts was cut to the 9 tokens that the network reads"
    )
    assert prepare.cut([long, long]).startswith("2 of 2 texts were cut")


def test_tokens_without_embeddings_are_left_out(bert, opened):
    """transformers adds a mask token to BERT's, whose row the network does not have."""
    backbone = opened(bert, "text")
    ids = TextPreparer(backbone.preprocessing, backbone.tokenizer).tokens("ants [MASK] bees")
    assert ids["input_ids"].max() < 7


def test_a_vocabulary_that_is_too_large(fitted, transformers, tmp_path):
    folder = shutil.copytree(fitted, tmp_path / "folder")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["more"] = 9999
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(SpecError) as caught:
        sources.load_fitted(sources.locate(str(folder)), "text")
    rows = json.loads((folder / "config.json").read_text())["vocab_size"]
    assert str(caught.value) == (
        f"--backbone {folder}: the tokenizer knows more tokens than the network has embeddings "
        "for\n"
        f"  found: a token of number 9,999, and {rows} embeddings\n"
        "  fix: take the tokenizer that the weights were fitted with"
    )


@pytest.fixture
def beside(fitted, tmp_path):
    """Write settings beside a copy of a tokenizer, as an own ONNX file has them."""

    def write(**settings):
        shutil.copy(fitted / "tokenizer.json", tmp_path / "tokenizer.json")
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
        return tmp_path / "tokenizer.json"

    return write


@pytest.mark.parametrize("settings", SETTINGS[1:5], ids=json.dumps)
def test_c1_settings_beside_an_own_tokenizer(beside, fitted, transformers, tmp_path, settings):
    """Fault C1, of an own ONNX file: the case of the report."""
    if "Roberta" in fitted.name:
        pytest.skip("its tokenizer has no such settings")
    file = beside(**settings)
    name = json.loads((fitted / "tokenizer_config.json").read_text())["tokenizer_class"]
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": name, **settings})
    )
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    prepare = TextPreparer(TextPreprocessing(max_length=512), file)
    for text in texts():
        assert prepare.tokens(text)["input_ids"][0].tolist() == theirs(text)["input_ids"], text


def test_settings_that_cannot_be_obeyed(beside, fitted, tmp_path):
    with pytest.raises(SpecError) as caught:
        read_tokenizer(beside(split_special_tokens=True))
    assert str(caught.value) == (
        f"{tmp_path / 'tokenizer_config.json'}: special tokens in texts are split, which "
        "tokenizer.json cannot say\n"
        "  found: split_special_tokens = true\n"
        "  fix: remove the setting, and judge the model without it"
    )
    if "Roberta" in fitted.name:
        with pytest.raises(SpecError) as caught:
            read_tokenizer(beside(do_lower_case=True))
        assert str(caught.value) == (
            f"{tmp_path / 'tokenizer_config.json'}: tokenizer.json and tokenizer_config.json "
            "disagree\n"
            "  found: do_lower_case = True, and tokenizer.json does not make texts lower case\n"
            "  fix: save both at once: "
            "AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        )


def test_c1_what_sentence_transformers_writes_beside_an_encoder(bert, copied, opened):
    """Fault C1: another file of settings that its library obeys."""
    folder = copied(bert)
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": False})
    )
    plain = opened(folder, "text")
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 12, "do_lower_case": True})
    )
    obeyed = opened(folder, "text")
    assert (plain.preprocessing.max_length, obeyed.preprocessing.max_length) == (40, 12)
    ids = [
        TextPreparer(each.preprocessing, each.tokenizer).tokens("ANTS and Bees")["input_ids"]
        for each in (plain, obeyed)
    ]
    assert [each[0].tolist() for each in ids] == [[2, 1, 5, 1, 3], [2, 4, 5, 6, 3]]
