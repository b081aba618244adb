"""What one sees of an example without any network: a few grey blocks, or which words it has.

Whatever a backbone knows should beat this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgetransfer.data.decode import decode
from edgetransfer.graph.prepare import ahead

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgetransfer.data.manifest import Example

Array = np.ndarray[Any, Any]

SIDE = 8
WORDS = 1024


def trivial_features(examples: Sequence[Example]) -> tuple[str, Array]:
    """Return the name of the trivial features of these examples, and the features.

    Pictures are shrunk whole to 8 x 8 by averaging: float32 [N, 192] in 0 to 1. Texts become the
    presence of hashed words, float32 [N, 1024] of length 1 (Weinberger et al. 2009, "Feature
    hashing for large scale multitask learning").
    """
    if examples[0].path is None:
        return "a bag of words", _words([example.text or "" for example in examples])
    return f"{SIDE} x {SIDE} pixels", np.stack(list(ahead(_pixels, examples)))


def _pixels(example: Example) -> Array:
    assert example.path is not None  # one data set holds one modality
    picture = Image.fromarray(decode(example.path))
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).ravel() / 255.0


def _words(texts: list[str]) -> Array:
    from sklearn.feature_extraction.text import HashingVectorizer

    hashing = HashingVectorizer(n_features=WORDS, binary=True, alternate_sign=False)
    return np.asarray(hashing.transform(texts).toarray(), dtype=np.float32)
