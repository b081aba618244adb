"""Pictures without labels that a teacher teaches with, and none that anything is judged on."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data import checks
from edgetransfer.data.digests import add_digests, file_digests
from edgetransfer.data.folders import pictures_below, unread_below
from edgetransfer.data.manifest import Example, Manifest
from edgetransfer.data.reading import Record, count
from edgetransfer.errors import DataError
from edgetransfer.spec.progress import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgetransfer.data.manifest import Split
    from edgetransfer.spec.progress import Progress

    Near = Callable[[Sequence[Example]], Mapping[str, str]]
    """Says which examples nearly repeat one that is judged on, by their keys: why they go."""

JUDGED: tuple[Split, ...] = ("test", "validation")


def nothing_near(_: Sequence[Example]) -> Mapping[str, str]:
    """Compare nothing."""
    return {}


def fingerprint(source: str) -> str:
    """sha256 (hex) over the names and bytes of all pictures in the folder.

    Raises:
        DataError: no such folder, or no picture in it.
    """
    root, paths = _find(source)
    names = [path.relative_to(root).as_posix() for path in paths]
    content = [str(root), list(zip(names, file_digests(paths), strict=True))]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def load(
    source: str, labelled: Manifest, *, near: Near = nothing_near, progress: Progress = silent
) -> Manifest:
    """Read all pictures of a folder and of those in it, whatever the folders are called.

    What equals or nearly equals a picture of the test or validation set is left out, so that
    nothing is judged on what it was taught with; and so is what repeats a labelled picture to train
    on, or another of these.

    Args:
        source: the folder.
        labelled: the pictures that it goes with.
        near: finds what nearly equals one that is judged on.
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
    taken = without(found, labelled, Named(source, "picture", root), near)
    unread = unread_below(root)
    return taken if unread is None else replace(taken, notes=(*taken.notes, unread))


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
    found: tuple[Record, ...], labelled: Manifest, named: Named, near: Near = nothing_near
) -> Manifest:
    """Return what is left of some records as train examples without a label.

    Args:
        found: with digests.
        labelled: the examples that they go with.
        named: how messages name them.
        near: finds what nearly equals an example that is judged on.

    Raises:
        DataError: nothing is left.
    """
    reasons = _equals(found, labelled, named.noun)
    reasons |= near(_examples(found, reasons))
    kept = _examples(found, reasons)
    dropped = {why: list(reasons.values()).count(why) for why in dict.fromkeys(reasons.values())}
    if not kept:
        raise DataError(
            f"no unlabelled {named.noun} is left",
            where=f"--unlabelled {named.source}",
            found=_told(dropped, len(found), named.noun),
            fix=f"give other {named.noun}s, or leave --unlabelled out",
        )
    notes = (_told(dropped, len(found), named.noun),) if dropped else ()
    return Manifest(labelled.modality, kept, labelled.labels, str(named.root), notes, dropped)


def _examples(found: tuple[Record, ...], without: Mapping[str, str]) -> tuple[Example, ...]:
    return tuple(
        Example(r.key, r.path, r.text, None, "train", {}, r.digest)
        for r in found
        if r.key not in without
    )


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


def _equals(found: tuple[Record, ...], labelled: Manifest, noun: str) -> dict[str, str]:
    """Return which records repeat an example that is there, by their keys; the gravest reason."""
    reasons: dict[str, str] = {}
    for split in (*JUDGED, "train"):
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
