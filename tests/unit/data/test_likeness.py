"""The same picture saved otherwise is found; another picture is not."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data.likeness import alike, thumbnail, thumbnails


def photo(seed: int, size: tuple[int, int] = (90, 120)) -> Image.Image:
    """Smooth coloured noise, as unlike another as photographs are."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(noise).resize(size[::-1], Image.Resampling.BICUBIC)


def jpeg(picture: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=30)
    return Image.open(buffer)


CHANGES = {
    "saved again": jpeg,
    "half the size": lambda picture: picture.resize((60, 45)),
    "brighter": lambda picture: picture.point(lambda value: int(255 * (value / 255) ** 0.8)),
}


def thumb(picture: Image.Image) -> np.ndarray:
    return thumbnail(np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_alike(change) -> None:
    pictures = np.stack([thumb(photo(seed)) for seed in range(10)])
    changed = np.stack([thumb(change(photo(seed))) for seed in range(0, 20, 2)])
    assert alike(changed, pictures).tolist() == [True] * 5 + [False] * 5


def test_flat_pictures_are_like_none() -> None:
    flat = thumbnail(np.full((20, 20, 3), 80, np.uint8))
    assert not flat.any()
    assert not alike(flat[None], flat[None]).any()


def test_files(tmp_path) -> None:
    for seed in range(3):
        photo(seed).save(tmp_path / f"{seed}.png")
    found = thumbnails(sorted(tmp_path.iterdir()))
    np.testing.assert_array_equal(found, [thumb(photo(seed)) for seed in range(3)])
    assert alike(found, thumbnails([])).tolist() == [False] * 3
