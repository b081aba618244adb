"""What examples look like on the surface: thumbnails of pictures, character n-grams of texts.

It does not compare them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from edgetransfer.data.likeness import thumbnails
from edgetransfer.data.text import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scipy.sparse import csr_matrix

    from edgetransfer.data.manifest import Example

Array = np.ndarray[Any, Any]

_GRAM = 3
"""Characters; padded at the ends of words, as sklearn's ``char_wb`` does."""


def surfaces(examples: Sequence[Example]) -> Array | csr_matrix:
    """Return one row of length 1 an example, float32 [N, S]: dense of pictures, sparse of texts."""
    paths = [example.path for example in examples if example.path is not None]
    return thumbnails(paths) if paths else grams([example.text or "" for example in examples])


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
