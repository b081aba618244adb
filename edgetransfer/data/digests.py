"""The content digest of every record, which for pictures means decoding each of them once.

It does not compare digests; `overlap` does.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from edgetransfer.data.decode import decode
from edgetransfer.data.text import normalise
from edgetransfer.errors import DataError
from edgetransfer.spec.outside import Kind, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgetransfer.data.decode import Pixels
    from edgetransfer.data.reading import Record
    from edgetransfer.spec.progress import Progress

_FILE = Kind("file of the data", error=DataError)

THREADS = 8
"""Pillow decodes without the GIL; more would hold more large pictures in memory at once."""


def picture_digest(pixels: Pixels) -> str:
    """sha256 (hex) of RGB pixels [H, W, 3] and their shape, so that 2 x 8 is not 4 x 4."""
    state = hashlib.sha256(repr(pixels.shape).encode())
    state.update(pixels.tobytes())
    return state.hexdigest()


def text_digest(text: str) -> str:
    """sha256 (hex) of the normalised text, see `text.normalise`."""
    # JSON can hold half a surrogate pair, which strict UTF-8 refuses.
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()


def add_digests(
    records: Sequence[Record], progress: Progress
) -> tuple[tuple[Record, ...], list[str]]:
    """Fill in the digests.

    Args:
        records: as read.
        progress: called once a record.

    Returns:
        The readable records in their order, and one line for each that is not.
    """
    readable, problems = [], []
    with ThreadPoolExecutor(THREADS) as pool:
        # A text is hashed faster than it is handed to a thread.
        texts = all(record.path is None for record in records)
        results = map(_digest, records) if texts else pool.map(_digest, records)
        for i, result in enumerate(results, start=1):
            if isinstance(result, str):
                problems.append(result)
            else:
                readable.append(result)
            progress(i, len(records))
    return tuple(readable), problems


def file_digests(paths: Iterable[Path]) -> list[str]:
    """sha256 (hex) of each file's bytes; of a file that is not there, the word ``missing``."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(_file_digest, paths))


def _file_digest(path: Path) -> str:
    if not path.exists():
        return "missing"
    with opened(path, _FILE) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest(record: Record) -> Record | str:
    if record.path is None:
        return replace(record, digest=text_digest(record.text or ""))
    try:
        return replace(record, digest=picture_digest(decode(record.path, where=record.where)))
    except DataError as error:
        return ", ".join(line.strip() for line in str(error).splitlines())
