"""Two tables say what a tokenizer does, and what they cannot say is refused."""

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgetransfer.errors import UnsupportedError
from edgetransfer.export.golden import HARD_TEXTS
from edgetransfer.kits.files.linux.edge_model import WordPiece, lines_of
from edgetransfer.kits.wordpiece import CHARACTERS, VOCABULARY, write_wordpiece

TOKENS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "un", "##believ", "##able", "able", "!", "a"),
    *("\u4e2d", "istanbul", "e", "##e", "\u1112\u1161\u11ab"),
]


@pytest.fixture
def tokenizer():
    made = Tokenizer(
        models.WordPiece({token: n for n, token in enumerate(TOKENS)}, unk_token="[UNK]")
    )
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens(TOKENS[:5])
    made.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)]
    )
    return made


def written(tokenizer, folder, longest=16):
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    return write_wordpiece(file, longest, folder)


def ported(tokenizer, folder, longest=16):
    """Return the port as a device reads it, from the files."""
    return WordPiece.read(folder, written(tokenizer, folder, longest))


def test_words_and_their_parts(tokenizer, tmp_path):
    port = ported(tokenizer, tmp_path)
    assert port.ids("Unbelievable!") == [2, 5, 6, 7, 9, 3]
    assert port.ids("\u0130stanbul \u4e2da x[MASK]") == [2, 12, 11, 10, 1, 4, 3]
    assert port.ids("\ud55c") == [2, 15, 3]
    assert port.ids("a" * 101) == [2, 1, 3]
    assert port.ids("") == [2, 3]


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_too_long_is_cut_where_the_tokenizer_cuts(tokenizer, side, tmp_path):
    tokenizer.enable_truncation(8, direction=side)
    port = ported(tokenizer, tmp_path, 8)
    assert port.ids("un able a a a e e e ! !") == tokenizer.encode("un able a a a e e e ! !").ids
    assert len(port.ids("a " * 50)) == 8


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"lowercase": False},
        {"lowercase": False, "strip_accents": True},
        {"strip_accents": False, "handle_chinese_chars": False},
        {"clean_text": False},
    ],
)
def test_every_setting_of_berts_normaliser(tokenizer, how, tmp_path):
    """The texts are those of golden cases; the table itself is held against the tokenizer too."""
    tokenizer.normalizer = normalizers.BertNormalizer(**how)
    port = ported(tokenizer, tmp_path, 64)
    tokenizer.enable_truncation(64)
    for text in HARD_TEXTS.values():
        assert port.ids(text) == tokenizer.encode(text).ids, text


def test_the_files(tokenizer, tmp_path):
    settings = written(tokenizer, tmp_path)
    assert settings == {
        "longest": "16",
        "longest_word": "100",
        "unknown": "1",
        "before": "2",
        "after": "3",
        "truncate": "right",
        **{f"added.{number}": TOKENS[number] for number in range(5)},
    }
    assert lines_of(tmp_path / VOCABULARY) == TOKENS
    rows = lines_of(tmp_path / CHARACTERS)
    assert rows[:4] == ["0\t8\tdrop", "9\ta\tspace", "b\tc\tdrop", "d\td\tspace"]
    assert "41\t41\tto\t61" in rows
    assert "ac00\td7a3\thangul" in rows
    assert "4e00\t9fff\talone" in rows


def refused(tokenizer, folder):
    with pytest.raises(UnsupportedError) as caught:
        written(tokenizer, folder)
    assert not (folder / VOCABULARY).exists()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{folder / 'tokenizer.json'}: kits have no port of this tokenizer"
    assert lines[2:] == [
        "  expected: WordPiece, as BERT, DistilBERT, MiniLM and E5 have it",
        "  fix: take a backbone with such a tokenizer; in Python and in a browser, `tokenizers` "
        "and transformers.js read this one",
    ]
    return lines[1].removeprefix("  found: ")


def test_another_kind(tmp_path):
    found = refused(Tokenizer(models.BPE({"a": 0, "b": 1}, [])), tmp_path)
    assert found == "BPE"


def test_words_that_are_parted_in_another_way(tokenizer, tmp_path):
    """Of `Whitespace` a run of punctuation is one word, which no table of characters says."""
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    assert refused(tokenizer, tmp_path).startswith("one that two tables do not describe: ")


def test_letters_that_others_change(tokenizer, tmp_path):
    """NFC joins a letter and the accent behind it."""
    tokenizer.normalizer = normalizers.NFC()
    assert refused(tokenizer, tmp_path).startswith("one that two tables do not describe: ")


def test_ids_with_gaps(tmp_path):
    made = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    assert refused(made, tmp_path) == "ids that are not 0, 1, 2 and so on"


def test_parts_that_begin_otherwise(tmp_path):
    model = models.WordPiece({"[UNK]": 0}, unk_token="[UNK]", continuing_subword_prefix="@@")
    assert refused(Tokenizer(model), tmp_path) == "parts of a word begin with '@@'"


def test_added_tokens_with_conditions(tokenizer, tmp_path):
    from tokenizers import AddedToken

    tokenizer.add_special_tokens([AddedToken("<x>", lstrip=True)])
    assert refused(tokenizer, tmp_path) == "an added token '<x>' with conditions"
