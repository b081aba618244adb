"""What examples look like on the surface: thumbnails of pictures, character n-grams of texts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer

from edgetransfer.data.decode import Pixels, decode
from edgetransfer.data.digests import THREADS, normalise

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from scipy.sparse import csr_matrix

    from edgetransfer.data.manifest import Example

Array = np.ndarray[Any, Any]
SIDE = 16
_FLAT = 1.0
"""Standard deviation in grey levels below which a picture shows nothing that could be compared."""
_GRAM = 3
"""Characters; padded at the ends of words, as sklearn's ``char_wb`` does."""


def surfaces(examples: Sequence[Example]) -> Array | csr_matrix:
    """Return one row of length 1 an example, float32 [N, S]: dense of pictures, sparse of texts."""
    paths = [example.path for example in examples if example.path is not None]
    return thumbnails(paths) if paths else grams([example.text or "" for example in examples])


def thumbnail(pixels: Pixels) -> Array:
    """Return the contrast of a picture, uint8 [H, W, 3], made small and grey.

    It is float32 [256] of length 1; 0 of a flat picture.

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


def grams(texts: Sequence[str]) -> csr_matrix:
    """Return character 3-grams weighted by their rarity, sparse float32 [N, S], rows of length 1.

    >>> rows = grams(["How do I pay?", "how do I  pay", "Where is my card?"])
    >>> [f"{each:.2f}" for each in (rows @ rows.T).toarray()[0]]
    ['1.00', '0.76', '0.00']
    """
    table = TfidfVectorizer(
        analyzer="char_wb", ngram_range=(_GRAM, _GRAM), preprocessor=normalise, dtype=np.float32
    )
    return table.fit_transform(texts)
