"""Pictures without labels that a teacher teaches with, and none that anything is judged on.

It does not say what the teacher makes of them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.data import checks
from edgetransfer.data.digests import add_digests, file_digests
from edgetransfer.data.folders import pictures_below
from edgetransfer.data.likeness import alike, least_alike, thumbnails
from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.data.reading import Record, count
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import silent

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Split
    from edgetransfer.spec.progress import Progress

_JUDGED: tuple[Split, ...] = ("test", "validation")


def fingerprint(source: str) -> str:
    """sha256 (hex) over the names and bytes of all pictures in the folder.

    Raises:
        DataError: no such folder, or no picture in it.
    """
    root, paths = _find(source)
    names = [path.relative_to(root).as_posix() for path in paths]
    content = [str(root), list(zip(names, file_digests(paths), strict=True))]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def load(source: str, labelled: Manifest, *, progress: Progress = silent) -> Manifest:
    """Read all pictures of a folder and of those in it, whatever the folders are called.

    What equals or nearly equals (see `likeness`) a picture of the test or validation set is left
    out, so that nothing is judged on what it was taught with; and so is what repeats a labelled
    picture to train on, or another of these.

    Args:
        source: the folder.
        labelled: the pictures that it goes with.
        progress: called once a picture.

    Returns:
        The pictures as train examples without a label; the notes say what was left out.

    Raises:
        DataError: no such folder, nothing left in it, or pictures that cannot be read.
    """
    root, paths = _find(source)
    keys = [path.relative_to(root).as_posix() for path in paths]
    records = [
        Record(key, key, path, None, None, "train", {})
        for key, path in zip(keys, paths, strict=True)
    ]
    found, unreadable = add_digests(records, progress)
    checks.raise_if(unreadable, str(root))
    return without(found, _reasons(found, labelled), labelled, Named(source, "picture", root))


@dataclass(frozen=True)
class Named:
    """How messages name what was read.

    Attributes:
        source: as the user gave it.
        noun: of one example.
        root: absolute folder that keys are relative to.
    """

    source: str
    noun: str
    root: Path


def without(
    found: tuple[Record, ...], reasons: dict[str, str], labelled: Manifest, named: Named
) -> Manifest:
    """Return what is left of some records as train examples without a label.

    Args:
        found: with digests.
        reasons: why records are left out, by their keys.
        labelled: the examples that they go with.
        named: how messages name them.

    Raises:
        DataError: nothing is left.
    """
    kept = [record for record in found if record.key not in reasons]
    dropped = {why: list(reasons.values()).count(why) for why in dict.fromkeys(reasons.values())}
    if not kept:
        raise DataError(
            f"no unlabelled {named.noun} is left",
            where=f"--unlabelled {named.source}",
            found=_told(dropped, len(found), named.noun),
            fix=f"give other {named.noun}s, or leave --unlabelled out",
        )
    examples = tuple(Example(r.key, r.path, r.text, None, "train", {}, r.digest) for r in kept)
    notes = (_told(dropped, len(found), named.noun),) if dropped else ()
    return Manifest(labelled.modality, examples, labelled.labels, str(named.root), notes, dropped)


def _find(source: str) -> tuple[Path, list[Path]]:
    root = Path(source).expanduser().absolute()
    if not root.is_dir():
        raise DataError(
            "no such folder",
            where=f"--unlabelled {source}",
            expected="a folder of pictures; folders in it may have any names",
        )
    paths = sorted(pictures_below(root))
    if not paths:
        raise DataError("no picture in the folder", where=f"--unlabelled {source}")
    return root, paths


def _reasons(found: tuple[Record, ...], labelled: Manifest) -> dict[str, str]:
    """Return why pictures are left out, by their keys; the gravest reason of each."""
    reasons = equals(found, labelled, "picture")
    left = [record for record in found if record.key not in reasons]
    looks = thumbnails(record.path for record in left if record.path is not None)
    judged = {split: labelled.split(split) for split in _JUDGED}
    known = {split: thumbnails(e.path for e in judged[split] if e.path) for split in _JUDGED}
    labels = [example.label for split in _JUDGED for example in judged[split] if example.path]
    least = least_alike(np.concatenate(list(known.values())), labels)
    for split in _JUDGED:
        for record, near in zip(left, alike(looks, known[split], least), strict=True):
            if near:
                reasons.setdefault(record.key, f"near-duplicate of a {split} example")
    return reasons


def equals(found: tuple[Record, ...], labelled: Manifest, noun: str) -> dict[str, str]:
    """Return which records repeat an example that is there, by their keys; the gravest reason."""
    reasons: dict[str, str] = {}
    for split in (*_JUDGED, "train"):
        held = {example.digest for example in labelled.examples if example.split == split}
        for record in found:
            if record.digest in held:
                reasons.setdefault(record.key, f"duplicate of a {split} example")
    seen: set[str] = set()
    for record in found:
        if record.digest in seen:
            reasons.setdefault(record.key, f"duplicate of another unlabelled {noun}")
        seen.add(record.digest)
    return reasons


def _told(dropped: dict[str, int], total: int, noun: str) -> str:
    parts = ", ".join(f"{number:,} {reason}" for reason, number in dropped.items())
    gone = sum(dropped.values())
    verb = "was" if gone == 1 else "were"
    return f"{gone:,} of {count(total, f'unlabelled {noun}')} {verb} dropped: {parts}"
