"""Examples without labels that a network learns from, and none that anything is judged on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data import sources
from edgetransfer.data.digests import add_digests, file_digests, normalise
from edgetransfer.data.folders import pictures_below, unread_below
from edgetransfer.data.locate import locate
from edgetransfer.data.manifest import Example, Manifest, Record, Split, count
from edgetransfer.data.tables import LINES, texts_of
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgetransfer.spec.preprocess import Modality

    Near = Callable[[Sequence[Example]], Mapping[str, str]]
    """Says which examples nearly repeat one that is judged on, by their keys: why they go."""

JUDGED: tuple[Split, ...] = ("test", "validation")
_EXPECTED = "a CSV, TSV, JSONL or Parquet table, or a .txt file with a text a line"


def fingerprint(source: str, modality: Modality) -> str:
    """sha256 (hex) over names and bytes of all files that are read; DataError if there are none."""
    root, files = _find(source, modality)
    names = [file.relative_to(root).as_posix() for file in files]
    content = [str(root), list(zip(names, file_digests(files), strict=True))]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def load(
    source: str,
    labelled: Manifest,
    text_column: str | None = None,
    *,
    near: Near | None = None,
    progress: Progress = silent,
) -> Manifest:
    """Read as train examples all pictures of a folder, or all texts of a file or a folder's tables.

    What equals (of texts: see `digests.normalise`) or nearly equals an example of the test or
    validation set is left out, so that nothing is judged on what it was taught with; and so is what
    repeats a labelled example to train on, or another of these; notes say so. Names of folders,
    labels and splits are not read; empty texts are passed over.

    DataError without such a folder or file, with nothing left in it or pictures that cannot be
    read; SpecError without `text_column`; MissingExtraError for Parquet without pyarrow.
    """
    root, files = _find(source, labelled.modality)
    texts = labelled.modality == "text"
    records = (
        [
            Record(where, where, None, text, None, "train", {})
            for file in files
            for where, text in texts_of(file, text_column)
            if normalise(text)
        ]
        if texts
        else [
            Record(key, key, file, None, None, "train", {})
            for file in files
            for key in [file.relative_to(root).as_posix()]
        ]
    )
    unread = None if texts else unread_below(root)
    found, unreadable = add_digests(records, progress)
    sources.raise_if(unreadable, str(root))
    kept, dropped = _without(found, labelled, near)
    noun = labelled.input.noun
    told = _told(dropped, len(found), noun)
    if not kept:
        raise DataError(
            f"no unlabelled {noun} is left",
            where=f"--unlabelled {source}",
            found=told,
            fix=f"give other {noun}s, or leave --unlabelled out",
        )
    notes = (*([told] if dropped else []), *([unread] if unread else []))
    return Manifest(labelled.modality, kept, labelled.labels, str(root), notes, dropped)


def _find(source: str, modality: Modality) -> tuple[Path, list[Path]]:
    """Return the folder that keys are relative to, and the files that hold the examples."""
    where, path = f"--unlabelled {source}", Path(source).expanduser().absolute()
    if modality == "image":
        if not path.is_dir():
            expected = "a folder of pictures; folders in it may have any names"
            raise DataError("no such folder", where=where, expected=expected)
        found = sorted(pictures_below(path))
        if not found:
            raise DataError("no picture in the folder", where=where)
        return path, found
    if path.suffix.lower() == LINES and path.is_file():
        return path.parent, [path]
    located = locate(source)
    if not located.tables:
        raise DataError("no texts in the folder", where=where, expected=_EXPECTED)
    return located.root, [named.path for named in located.tables]


def _without(
    found: tuple[Record, ...], labelled: Manifest, near: Near | None
) -> tuple[tuple[Example, ...], dict[str, int]]:
    """Return what is left of some records, and how many went, by the gravest reason."""
    reasons: dict[str, str] = {}
    for split in (*JUDGED, "train"):
        held = {example.digest for example in labelled.examples if example.split == split}
        for record in found:
            if record.digest in held:
                reasons.setdefault(record.key, f"duplicate of a {split} example")
    seen: set[str] = set()
    for record in found:
        if record.digest in seen:
            repeated = f"duplicate of another unlabelled {labelled.input.noun}"
            reasons.setdefault(record.key, repeated)
        seen.add(record.digest)

    def left() -> tuple[Example, ...]:
        kept = (record for record in found if record.key not in reasons)
        return tuple(Example(r.key, r.path, r.text, None, "train", {}, r.digest) for r in kept)

    reasons |= near(left()) if near else {}
    return left(), dict(Counter(reasons.values()))


def _told(dropped: dict[str, int], total: int, noun: str) -> str:
    parts = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
    gone = sum(dropped.values())
    verb = "was" if gone == 1 else "were"
    return f"{gone:,} of {count(total, f'unlabelled {noun}')} {verb} dropped: {parts}"
