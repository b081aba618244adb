"""Examples are prepared as the contract says, in order."""

import json
import threading
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data.manifest import Example
from edgetransfer.errors import DataError, SpecError
from edgetransfer.graph.embed import PICTURE, PREPARED
from edgetransfer.graph.prepare import (
    PicturePreparer,
    TextPreparer,
    ahead,
    preparer,
    stack,
    write_each,
)
from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "ants", "and", "bees"]


def example(path=None, text=None):
    return Example("key", path, text, "a", "train", {}, "digest")


@pytest.fixture
def pictures(tmp_path):
    """Examples of six pictures of different sizes, and their pixels."""
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (5 + i, 9 - i, 3), np.uint8) for i in range(6)]
    for index, array in enumerate(pixels):
        Image.fromarray(array).save(tmp_path / f"{index}.png")
    return [example(tmp_path / f"{index}.png") for index in range(6)], pixels


@pytest.fixture
def tokenizer(tmp_path):
    """A ``tokenizer.json`` of whole words between ``[CLS]`` and ``[SEP]``."""
    content = {
        "version": "1.0",
        "added_tokens": [],
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "BertProcessing",
            "sep": ["[SEP]", 3],
            "cls": ["[CLS]", 2],
        },
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(WORDS)},
            "unk_token": "[UNK]",
        },
    }
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(content))
    return file


SPEC = ImagePreprocessing(exact=(4, 4))


def test_a_picture_is_decoded_and_prepared(pictures):
    examples, pixels = pictures
    prepare = PicturePreparer(SPEC)
    np.testing.assert_array_equal(prepare.raw(examples[2])[PICTURE], pixels[2][None])
    prepared = prepare.prepare(examples[2])
    assert list(prepared) == list(prepare.input_names) == [PREPARED]
    assert (prepared[PREPARED].shape, prepared[PREPARED].dtype) == ((1, 3, 4, 4), np.float32)


def test_pictures_are_joined_in_order(pictures):
    examples, _ = pictures
    prepare = PicturePreparer(SPEC)
    each = [prepare.prepare(one) for one in examples]
    joined = prepare.join(each)[PREPARED]
    np.testing.assert_array_equal(joined, np.concatenate([one[PREPARED] for one in each]))


def test_stacked_pictures_lie_in_one_file(pictures, tmp_path):
    examples, _ = pictures
    prepare = PicturePreparer(SPEC)
    (tmp_path / "out").mkdir()
    told = []
    files = stack(
        prepare.prepare, examples, tmp_path / "out", progress=lambda *line: told.append(line)
    )
    assert files == {PREPARED: str(tmp_path / "out" / "input.npy")}
    assert told == [(done, 6) for done in range(1, 7)]
    expected = np.concatenate([prepare.prepare(one)[PREPARED] for one in examples])
    np.testing.assert_array_equal(np.load(files[PREPARED]), expected)


def test_what_differs_in_size_is_written_each_alone(pictures, tmp_path):
    examples, pixels = pictures
    (tmp_path / "out").mkdir()
    files = write_each(PicturePreparer(SPEC).raw, examples, tmp_path / "out")
    assert list(files) == [PICTURE]
    for file, array in zip(files[PICTURE], pixels, strict=True):
        np.testing.assert_array_equal(np.load(file), array[None])


def test_a_text_becomes_tokens_at_its_own_length(tokenizer):
    prepare = TextPreparer(TextPreprocessing(), tokenizer)
    batch = prepare.prepare(example(text="ants and wasps"))
    assert {name: array.tolist() for name, array in batch.items()} == {
        "input_ids": [[2, 4, 5, 1, 3]],
        "attention_mask": [[1, 1, 1, 1, 1]],
    }
    assert all(array.dtype == np.int64 for array in batch.values())
    assert prepare.raw(example(text="ants")).keys() == batch.keys()


def test_a_long_text_is_cut_and_keeps_its_end_mark(tokenizer):
    prepare = TextPreparer(TextPreprocessing(max_length=4), tokenizer)
    assert prepare.prepare(example(text="ants and bees"))["input_ids"].tolist() == [[2, 4, 5, 3]]


def test_texts_are_padded_to_the_longest(tokenizer):
    prepare = TextPreparer(TextPreprocessing(pad_id=6), tokenizer)
    joined = prepare.join([prepare.prepare(example(text=text)) for text in ("ants", "and bees")])
    assert joined["input_ids"].tolist() == [[2, 4, 3, 6], [2, 5, 6, 3]]
    assert joined["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


def test_texts_are_ordered_by_their_tokens_and_pictures_stay(tokenizer, pictures):
    prepare = TextPreparer(TextPreprocessing(), tokenizer)
    texts = [example(text=text) for text in ("ants and bees", "ants", "and bees", "bees")]
    assert prepare.order(texts).tolist() == [1, 3, 2, 0]
    assert PicturePreparer(SPEC).order(pictures[0]).tolist() == list(range(6))


@pytest.mark.parametrize(
    "inputs",
    [("input_ids",), ("input_ids", "token_type_ids", "attention_mask"), ("attention_mask",)],
)
def test_a_network_gets_the_inputs_it_names(tokenizer, inputs):
    prepare = TextPreparer(TextPreprocessing(inputs=inputs), tokenizer)
    batch = prepare.prepare(example(text="ants"))
    values = {
        "input_ids": [[2, 4, 3]],
        "attention_mask": [[1, 1, 1]],
        "token_type_ids": [[0, 0, 0]],
    }
    assert list(batch) == list(inputs)
    assert all(array.tolist() == values[name] for name, array in batch.items())


def test_a_tokenizer_that_is_none(tmp_path):
    file = tmp_path / "tokenizer.json"
    file.write_text("{}")
    with pytest.raises(SpecError) as caught:
        TextPreparer(TextPreprocessing(), file)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{file}: not a tokenizer"
    assert lines[1].startswith("  found: ")


def test_the_contract_says_which_preparer(tokenizer):
    assert isinstance(preparer(SPEC, None), PicturePreparer)
    assert isinstance(preparer(TextPreprocessing(), tokenizer), TextPreparer)


def test_a_broken_picture_is_named(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(b"hello")
    with pytest.raises(DataError, match=f"^{file}: "):
        list(ahead(PicturePreparer(SPEC).prepare, [example(file)]))


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 40])
def test_work_ahead_keeps_the_order(count):
    wait = threading.Event()

    def slow_at_first(item):
        if item == 0 and count > 1:
            wait.wait(5)
        if item == 1:
            wait.set()
        return item * item

    assert list(ahead(slow_at_first, range(count))) == [item * item for item in range(count)]


def test_work_is_not_done_far_ahead():
    begun = []
    results = ahead(lambda item: begun.append(item) or item, range(1000))
    for expected in range(3):
        assert next(results) == expected
    assert len(begun) <= 3 + 8
    results.close()


def test_a_report_shows_a_small_jpeg_of_a_picture(tmp_path):
    Image.new("RGB", (600, 300), (200, 30, 30)).save(tmp_path / "wide.png")
    prepare = PicturePreparer(ImagePreprocessing(exact=(8, 8)))
    shown = prepare.thumbnail(example(tmp_path / "wide.png"))
    with Image.open(BytesIO(shown)) as image:
        assert (image.format, image.size) == ("JPEG", (96, 48))
    assert len(shown) < 4096


def test_a_report_shows_how_a_text_begins(tmp_path):
    prepare = TextPreparer.__new__(TextPreparer)  # nothing of a tokenizer is asked
    assert prepare.thumbnail(example(text="  ants\n and\tbees ")) == "ants and bees"
    assert prepare.thumbnail(example(text="a" * 200)) == "a" * 200
    assert prepare.thumbnail(example(text="a" * 201)) == "a" * 199 + "…"
