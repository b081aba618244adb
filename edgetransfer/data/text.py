"""What makes two texts the same text.

It does not tokenise and does not alter the text that a model reads.
"""

from __future__ import annotations

import unicodedata


def normalise(text: str) -> str:
    r"""Fold away case, Unicode composition and white space, for comparing only.

    >>> normalise("  Caf\u0065\u0301  AU\tlait ") == "caf\u00e9 au lait"
    True
    """
    folded = unicodedata.normalize("NFC", text).casefold()
    # Case folding can take a composed letter apart again, so compose once more.
    return " ".join(unicodedata.normalize("NFC", folded).split())
