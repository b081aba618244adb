"""Rows of length 1: thumbnails of pictures, n-grams of texts."""

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data.manifest import Example
from edgetransfer.transfer.study.near_duplicates import surfaces, thumbnail


def example(key, path=None, text=None):
    return Example(key, path, text, "a", "train", {}, key)


def test_texts_that_differ_by_a_word_are_nearer_than_others():
    texts = [
        "What are the age requirements for opening an account?",
        "what are  age requirements for opening an account?",
        "Can I use my watch to top up?",
    ]
    rows = surfaces([example(str(n), text=text) for n, text in enumerate(texts)])
    likeness = (rows @ rows.T).toarray()
    np.testing.assert_allclose(np.diag(likeness), 1, rtol=1e-5)
    assert likeness[0, 1] > 0.9
    assert likeness[0, 2] < 0.3


def test_pictures_are_thumbnails(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (2, 20, 24, 3)).astype(np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    rows = surfaces([example(str(n), path=tmp_path / f"{n}.png") for n in range(2)])
    assert rows.shape == (2, 256)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_without_a_3_gram_is_like_none(text):
    rows = surfaces([example("0", text=text), example("1", text="some other text")])
    assert float((rows @ rows.T).toarray()[0, 1]) == 0


def test_flat_pictures_are_like_none():
    flat = thumbnail(np.full((20, 20, 3), 80, np.uint8))
    assert not flat.any()
