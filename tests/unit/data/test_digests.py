"""Equal contents have equal digests, and only those."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data.decode import decode
from edgetransfer.data.digests import add_digests, file_digests, picture_digest, text_digest
from edgetransfer.data.manifest import Example

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_shape_counts() -> None:
    flat = np.arange(48, dtype=np.uint8)
    assert picture_digest(flat.reshape(2, 8, 3)) != picture_digest(flat.reshape(4, 4, 3))


def test_pixels_count_and_files_do_not(picture: Callable[..., Path], tmp_path: Path) -> None:
    path = picture("a.png", 1)
    Image.open(path).save(tmp_path / "a.bmp")
    assert picture_digest(decode(path)) == picture_digest(decode(tmp_path / "a.bmp"))
    assert picture_digest(decode(path)) != picture_digest(decode(picture("b.png", 2)))


@pytest.mark.parametrize("other", ["CAFE\u0301 noir", "  café\tNoir\n", "café\u00a0noir"])
def test_texts_that_say_the_same(other: str) -> None:
    assert text_digest(other) == text_digest("Café noir")
    assert text_digest(other) == hashlib.sha256("café noir".encode()).hexdigest()


def test_texts_that_do_not() -> None:
    assert len({text_digest(t) for t in ("a b", "ab", "a. b", "á b", "\ud800")}) == 5


def test_unreadable_pictures_are_listed_in_order(picture: Callable[..., Path]) -> None:
    good, bad = picture("good.png", 1), picture("bad.png", 2)
    bad.write_bytes(b"nothing")
    records = [
        Example(f"{i}", path, None, "a", None, {}, where=f"row {i}")
        for i, path in enumerate([bad, good])
    ]
    calls = []
    readable, problems = add_digests(records, lambda done, total: calls.append((done, total)))
    assert [r.key for r in readable] == ["1"]
    assert problems == [
        "row 0: the picture cannot be read, found: no picture in a known format, "
        "expected: a whole JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF or PNM picture"
    ]
    assert calls == [(1, 2), (2, 2)]


def test_files_by_their_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert file_digests([tmp_path / "a", tmp_path / "b"]) == [
        hashlib.sha256(b"x").hexdigest(),
        "missing",
    ]
