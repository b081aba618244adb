"""Finds examples that are nearly the same: near each other on the surface and in features alike.

The surface is thumbnails of pictures, character n-grams of texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from sklearn.feature_extraction.text import TfidfVectorizer

from edgetransfer.data.decode import Pixels, decode
from edgetransfer.data.digests import THREADS, normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    if not paths:
        return grams([example.text or "" for example in examples])
    with ThreadPoolExecutor(THREADS) as pool:
        return np.stack(list(pool.map(lambda path: thumbnail(decode(path)), paths)))


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


RIVALS = 3
"""The nearest example of another class that counts, so that two copies under a wrong label do not
hide each other."""
CROWD = 16
"""The nearest example of any class that counts: where a class is dense, its members are near each
other without being the same. More than 16 copies of one example hide each other."""
NEAR = 0.35
"""Geometric mean of both ratios under which a pair counts; docs/labels.md has what that lists."""
SAME = 0.15
"""Ratio on the surface under which a pair counts whatever the features say, which a small picture
loses when it is halved. Copies of spectrograms saved again or halved stay under 0.08; of 1,797
digits, 3,000 spectrograms and 2,000 pictures of tiny-imagenet no two came under 0.26."""
CANDIDATE = 0.6
"""Ratio on the surface under which features are asked at all."""
_ROWS_AT_ONCE = 512
_ROUNDING = 1e-5
"""What a cosine in float32 may be off."""
_LEAST = 1e-6
"""Of a scale: where an example stands more than 16 times it would be 0."""


def directions(features: Array, known: int | None = None) -> Array:
    """Return rows of length 1, float32 [N, D], centred on the mean of the first `known`, or all."""
    centred = features - features[:known].mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(length, 1e-12), dtype=np.float32)


def scales(rows: Array | csr_matrix, labels: Array) -> Array:
    """Return how far from each example others are that are surely not the same, float32 [N].

    It is the distance to the third nearest of another class, or to the 16th nearest of all where
    that is less; Lowe (2004, "Distinctive image features from scale-invariant keypoints", section
    7.1) weighs a match by the nearest that is known to be another object in the same way.

    Rows are [N, D], of length 1, labels int [N].

    >>> around = np.deg2rad([0, 1, 90, 91, 92])
    >>> rows = np.stack([np.cos(around), np.sin(around)], axis=1)
    >>> [f"{each:.2f}" for each in scales(rows, np.array([0, 0, 1, 1, 1]))]
    ['1.44', '1.43', '1.41', '1.43', '1.44']
    """
    parts = [_scales(likeness, start, labels) for start, likeness in _likenesses(rows, rows)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)


def _scales(likeness: Array, start: int, labels: Array) -> Array:
    """Return the scales of some rows, float32 [n], of which the first is `start`.

    Of all rows they have the cosines [n, N], which are written over.
    """
    here = np.arange(len(likeness))
    likeness[here, start + here] = -np.inf
    crowd = _nth(likeness, CROWD) if len(labels) > CROWD else np.full(len(here), -np.inf)
    others = labels[start + here][:, None] != labels[None, :]
    likeness[~others] = -np.inf
    rivals = _nth(likeness, min(RIVALS, len(labels)))
    fewer = np.isinf(rivals)  # then the farthest of them counts
    last = np.where(others[fewer], likeness[fewer], np.inf).min(axis=1, initial=np.inf)
    rivals[fewer] = np.where(np.isinf(last), -np.inf, last)
    nearest = np.maximum(crowd, rivals)
    found = np.maximum(_distance(nearest), np.float32(_LEAST))
    return np.where(np.isinf(found), np.float32(1), found)  # nothing is known to be another


def candidates(rows: Array | csr_matrix, labels: Array) -> tuple[Array, Array]:
    """Return pairs that are near each other on the surface, int [P, 2], and how near, float [P].

    Rows [N, S] are of length 1; first those that have labels, int [L], then others, which are
    compared with the first but not with each other, and set no scale. The first of a pair is below
    L and below the second; nearness is their distance as a share of the smaller scale of both.
    """
    known = len(labels)
    scale = np.full(rows.shape[0], np.inf, dtype=np.float32)
    firsts, seconds, found = [], [], [np.zeros(0, dtype=np.float32)]
    for start, likeness in _likenesses(rows[:known], rows):
        here = slice(start, start + len(likeness))
        scale[here] = _scales(likeness[:, :known].copy(), start, labels)
        least = 1 - (CANDIDATE * scale[here]) ** 2 / 2  # the cosine of the distance that may be
        first, second = np.nonzero(likeness >= (least - _ROUNDING)[:, None])
        ahead = second > first + start
        firsts.append(first[ahead] + start)
        seconds.append(second[ahead])
        found.append(likeness[first[ahead], second[ahead]])
    pairs = np.stack([np.concatenate([np.zeros(0, np.int64), *each]) for each in (firsts, seconds)])
    ratios = _distance(np.concatenate(found)) / scale[pairs].min(axis=0)
    near = ratios <= CANDIDATE
    return pairs.T[near], ratios[near]


def confirmed(pairs: Array, ratios: Array, features: Array, labels: Array) -> tuple[Array, Array]:
    """Return the pairs that are near in features as well, the nearest first, and how near.

    In features [N, D] they have to be nearer than what is surely not the same, unless they are
    `SAME` on the surface; rows that no pair of `candidates` names may be NaN, but not the first L.
    Returned are int [Q, 2] and float [Q]: the geometric mean of the ratios on the surface and in
    features; of what is `SAME` the ratio on the surface where that is less.
    """
    rows = directions(features, len(labels))
    beyond = np.full(len(rows) - len(labels), np.inf)
    scale = np.concatenate([scales(rows[: len(labels)], labels), beyond])
    first, second = pairs.T
    apart = np.linalg.norm(rows[first] - rows[second], axis=1)
    alike = apart / np.minimum(scale[first], scale[second])
    both = np.sqrt(ratios * alike)
    same = ratios < SAME
    both = np.where(same, np.minimum(both, ratios), both)
    near = np.flatnonzero(same | ((both < NEAR) & (alike < 1)))
    near = near[np.argsort(both[near], kind="stable")]
    return pairs[near], both[near]


def _likenesses(
    rows: Array | csr_matrix, others: Array | csr_matrix
) -> Iterator[tuple[int, Array]]:
    """Yield the place of the first of some rows, and their cosines to all others [n, M]."""
    for start in range(0, rows.shape[0], _ROWS_AT_ONCE):
        likeness = rows[start : start + _ROWS_AT_ONCE] @ others.T
        yield start, likeness if isinstance(likeness, np.ndarray) else likeness.toarray()


def _distance(likeness: Array) -> Array:
    """Return the distances of directions with these cosines; those of -inf are inf."""
    return np.asarray(np.sqrt(np.maximum(2 - 2 * likeness, 0)))


def _nth(likeness: Array, n: int) -> Array:
    """Return the n-th largest of every row."""
    return np.asarray(np.partition(likeness, -n, axis=1)[:, -n])
