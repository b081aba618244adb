"""What makes two examples the same: digests of contents, and what is done where one repeats."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from edgetransfer.data.decode import Pixels, decode
from edgetransfer.data.manifest import Example, Split, count
from edgetransfer.errors import DataError
from edgetransfer.spec.outside import Kind, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from edgetransfer.spec.progress import Progress

Records = tuple[Example, ...]
_SHOWN = 3


def drop_duplicates(records: Records) -> tuple[Records, Counter[str], list[str]]:
    """Take out what stands in a split that is judged on later.

    A duplicate of a test example leaves train and validation; one of a validation example leaves
    train. Records without a split are not touched. Returned are the kept records, how many went by
    reason, and a note for each pair of splits.
    """
    dropped: Counter[str] = Counter()
    notes: list[str] = []
    for loser, keeper in (("validation", "test"), ("train", "test"), ("train", "validation")):
        keepers = [r.digest for r in records if r.split == keeper]
        held, losers = set(keepers), {r.digest for r in records if r.split == loser}
        kept = tuple(r for r in records if r.split != loser or r.digest not in held)
        gone, records = len(records) - len(kept), kept
        if not gone:
            continue
        dropped[f"duplicate of a {keeper} example"] += gone
        shared = sum(digest in losers for digest in keepers)
        stand = "stands" if shared == 1 else "stand"
        repeat = "that repeats one was" if gone == 1 else "that repeat them were"
        notes.append(
            f"{shared:,} of {count(len(keepers), f'{keeper} example')} also {stand} in {loser}: "
            f"{count(gone, f'{loser} example')} {repeat} dropped, {keeper} is unaltered"
        )
    return records, dropped, notes


def repeat_notes(records: Iterable[Example]) -> list[str]:
    """Say how many examples repeat one of their own split, and which in train contradict it."""
    notes = []
    by_split: dict[Split, dict[str, list[Example]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        if record.split is not None:
            by_split[record.split][record.digest].append(record)
    for split, groups in by_split.items():
        repeats = sum(len(group) - 1 for group in groups.values())
        if repeats:
            verb = "repeats another; it stays" if repeats == 1 else "repeat another; they stay"
            notes.append(f"{count(repeats, f'{split} example')} {verb}")
    contrary = [g for g in by_split["train"].values() if len({r.label for r in g}) > 1]
    shown = []
    for group in contrary[:_SHOWN]:
        first = {record.label: record.where for record in reversed(group)}
        by_label = dict.fromkeys(record.label for record in group)
        shown.append(" and ".join(f"{first[label]} ({label})" for label in by_label))
    if contrary:
        more = f"; and {len(contrary) - _SHOWN:,} more" if len(contrary) > _SHOWN else ""
        notes.append(
            f"{count(len(contrary), 'content')} in train with more than one label: "
            f"{'; '.join(shown)}{more}"
        )
    return notes


def normalise(text: str) -> str:
    r"""Fold away case, Unicode composition and white space, for comparing only.

    >>> normalise("  Caf\u0065\u0301  AU\tlait ") == "caf\u00e9 au lait"
    True
    """
    folded = unicodedata.normalize("NFC", text).casefold()
    # Case folding can take a composed letter apart again, so compose once more.
    return " ".join(unicodedata.normalize("NFC", folded).split())


_FILE = Kind("file of the data", error=DataError)
THREADS = 8
"""Pillow decodes without the GIL; more would hold more large pictures in memory at once."""


def picture_digest(pixels: Pixels) -> str:
    """sha256 (hex) of RGB pixels [H, W, 3] and their shape, so that 2 x 8 is not 4 x 4."""
    state = hashlib.sha256(repr(pixels.shape).encode())
    state.update(pixels.tobytes())
    return state.hexdigest()


def text_digest(text: str) -> str:
    """sha256 (hex) of the normalised text, see `normalise`."""
    # JSON can hold half a surrogate pair, which strict UTF-8 refuses.
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()


def add_digests(
    records: Sequence[Example], progress: Progress
) -> tuple[tuple[Example, ...], list[str]]:
    """Return the readable records in their order with digests, and a line for each that is not."""
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

    def one(path: Path) -> str:
        if not path.exists():
            return "missing"
        with opened(path, _FILE) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(one, paths))


def _digest(record: Example) -> Example | str:
    if record.path is None:
        return replace(record, digest=text_digest(record.text or ""))
    try:
        return replace(record, digest=picture_digest(decode(record.path, where=record.where)))
    except DataError as error:
        return ", ".join(line.strip() for line in str(error).splitlines())
