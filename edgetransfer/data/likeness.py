"""Pictures that are nearly the same: saved again, resized, brightened.

It does not find mirrored pictures, nor crops: those count as other pictures.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgetransfer.data.decode import decode
from edgetransfer.data.digests import THREADS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgetransfer.data.decode import Pixels

Array = np.ndarray[Any, Any]

SIDE = 16
ALIKE = 0.97
"""Cosine of two thumbnails from which on they count as one picture. Of 1,000 tiny-imagenet pictures
and of the 396 of hymenoptera no two came nearer than 0.925; the same ones at JPEG quality 30, at
half their size, or brightened by a gamma of 0.8 stayed above 0.991."""
_COMPARED = 1000
_FLAT = 1.0
"""Standard deviation in grey levels below which a picture shows nothing that could be compared."""


def thumbnail(pixels: Pixels) -> Array:
    """Return the contrast of a small grey picture, float32 [256] of length 1; 0 of a flat picture.

    Args:
        pixels: uint8 [H, W, 3].

    >>> slope = np.tile(np.arange(64, dtype=np.uint8)[:, None, None], (1, 48, 3))
    >>> round(float(thumbnail(slope) @ thumbnail(2 * slope[::2])), 3)  # brighter, half as high
    1.0
    >>> round(float(thumbnail(slope) @ thumbnail(slope[::-1])), 3)  # upside down
    -1.0
    """
    small = Image.fromarray(pixels).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    grey = np.asarray(small, dtype=np.float32).ravel()
    contrast = grey - grey.mean()
    if contrast.std() < _FLAT:
        return np.zeros_like(contrast)
    scaled: Array = contrast / np.linalg.norm(contrast)
    return scaled


def thumbnails(paths: Iterable[Path]) -> Array:
    """Return the thumbnails of picture files, float32 [N, 256]."""
    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(lambda path: thumbnail(decode(path)), paths))
    return np.stack(found) if found else np.zeros((0, SIDE * SIDE), np.float32)


def alike(pictures: Array, others: Array, least: float = ALIKE) -> Array:
    """Say of every thumbnail [N, 256] whether one of others [M, 256] is nearly the same, bool [N].

    >>> alike(np.eye(3)[:2], np.eye(3)[1:])
    array([False,  True])
    """
    if len(others) == 0:
        return np.zeros(len(pictures), dtype=bool)
    found: Array = (pictures @ others.T).max(axis=1) >= least
    return found


def least_alike(pictures: Array, labels: Sequence[str | None]) -> float:
    """Return the cosine from which on two pictures of such data count as one.

    Pictures of different classes are different pictures: where these come nearer than `ALIKE`, as
    spectrograms and small digits do, the bound is what one in a hundred of them exceeds.

    Args:
        pictures: thumbnails [N, 256]; of more than 1,000 some that are spread evenly are taken.
        labels: N classes.

    >>> photos, spectrograms = np.eye(3), np.array([[1.0, 0.0], [0.995, 0.1], [0.0, 1.0]])
    >>> least_alike(photos, ["a", "b", "c"]), round(least_alike(spectrograms, ["a", "b", "c"]), 3)
    (0.97, 0.995)
    """
    chosen = np.linspace(0, len(pictures) - 1, min(len(pictures), _COMPARED)).astype(int)
    classes = np.array([str(labels[row]) for row in chosen])
    cosines = pictures[chosen] @ pictures[chosen].T
    cosines[classes[:, None] == classes[None, :]] = -1.0
    nearest = cosines.max(axis=1, initial=-1.0)
    return max(ALIKE, float(np.quantile(nearest, 0.99))) if len(nearest) else ALIKE
