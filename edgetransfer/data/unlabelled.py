"""Examples without labels that a network learns from, and none that anything is judged on."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from typing import TYPE_CHECKING

from edgetransfer.data import sources
from edgetransfer.data.digests import add_digests, file_digests
from edgetransfer.data.inputs import READERS
from edgetransfer.data.manifest import Example, Manifest, Split, count
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import Progress, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgetransfer.spec.preprocess import Modality

    Near = Callable[[Sequence[Example]], Mapping[str, str]]
    """Says which examples nearly repeat one that is judged on, by their keys: why they go."""

JUDGED: tuple[Split, ...] = ("test", "validation")


def fingerprint(source: str, modality: Modality) -> str:
    """sha256 (hex) over names and bytes of all files that are read; DataError if there are none."""
    root, files = READERS[modality].find(source)
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
    reader = READERS[labelled.modality]
    root, files = reader.find(source)
    found, unreadable = add_digests(list(reader.unlabelled(root, files, text_column)), progress)
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
    notes = tuple(filter(None, (told if dropped else None, reader.unread(root))))
    return Manifest(labelled.modality, kept, labelled.labels, str(root), notes, dropped)


def _without(
    found: tuple[Example, ...], labelled: Manifest, near: Near | None
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
    reasons |= near([each for each in found if each.key not in reasons]) if near else {}
    kept = tuple(each for each in found if each.key not in reasons)
    return kept, dict(Counter(reasons.values()))


def _told(dropped: dict[str, int], total: int, noun: str) -> str:
    parts = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
    gone = sum(dropped.values())
    verb = "was" if gone == 1 else "were"
    return f"{gone:,} of {count(total, f'unlabelled {noun}')} {verb} dropped: {parts}"
