"""What names of folders and files say: a split, a system's own leavings, a kind of data.

It does not open anything.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Mapping

    from edgetransfer.data.manifest import Split

SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "holdout": "test",
}
"""What folders, tables and cells of a split column may be called, in lower case."""
_EITHER = {"eval", "evaluation"}
"""Used for either set that is not fitted on."""
_WORDS: Mapping[str, Split] = {
    **SPLIT_NAMES,
    "development": "validation",
    "devel": "validation",
    "heldout": "test",
}
_OF_A_SET = re.compile(r"(?<=[a-z])(sets?|data|images|imgs)$")

_SYSTEM = {
    "__macosx",
    "@eadir",
    "#recycle",
    "@recycle",
    "lost+found",
    "$recycle.bin",
    "recycler",
    "system volume information",
    "__pycache__",
    "thumbs.db",
    "ehthumbs.db",
    "desktop.ini",
}

SOUND = {".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac", ".aif", ".aiff", ".opus", ".wma"}
VIDEO = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv"}
ARRAYS = {".npy", ".npz", ".h5", ".hdf5", ".mat", ".pkl", ".pickle", ".tfrecord", ".arrow", ".pt"}
OTHER_PICTURES = {
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".xcf", ".eps", ".ai", ".pdf", ".ico", ".tga"),
    *(".pcx", ".exr", ".hdr", ".dcm", ".nii", ".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf"),
    *(".raw", ".raf", ".rw2", ".jp2", ".j2k", ".jpx", ".jxr", ".wdp", ".fits", ".dds"),
}
"""Pictures that are not read: said by name, so that none of them vanishes."""


def is_leaving(name: str) -> bool:
    """Tell whether a file or folder is hidden, or left by a system beside what people put there.

    >>> [is_leaving(name) for name in (".cache", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "ants")]
    [True, True, True, True, False]
    """
    return name.startswith(".") or name.lower() in _SYSTEM


def splits_of(names: Iterable[str]) -> dict[str, Split | None]:
    """Return the split that each of some names means, by the words in it; None for no split.

    ``eval`` is the set that the other names leave: validation where there is a test set.

    >>> splits_of(["seg_train", "TestSet", "val2017", "eval", "training and test", "ants"])
    {'seg_train': 'train', 'TestSet': 'test', 'val2017': 'validation', 'eval': None,
     'training and test': None, 'ants': None}
    >>> splits_of(["train", "test", "Eval"])["Eval"], splits_of(["train", "eval"])["eval"]
    ('validation', 'test')
    """
    meant: dict[str, Split | None] = {}
    either = []
    for name in names:
        words = _words(name)
        found = {_WORDS[word] for word in words & _WORDS.keys()}
        meant[name] = next(iter(found)) if len(found) == 1 else None
        if not found and words & _EITHER:
            either.append(name)
    given = set(meant.values())
    free = [split for split in ("test", "validation") if split not in given]
    if either and free:
        for name in either:
            meant[name] = "validation" if free == ["validation"] else "test"
    return meant


def _words(name: str) -> set[str]:
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = re.findall(r"[a-z]+", apart)
    joined = {a + b for a, b in itertools.pairwise(words)}  # hold-out, held out
    return {*words, *joined, *(_OF_A_SET.sub("", word) for word in words)}


def suffixes_told(counted: Counter[str]) -> str:
    """Say how many files there are of each extension, the commonest first.

    >>> from collections import Counter
    >>> from collections import Counter
    >>> suffixes_told(Counter({".heic": 12, "": 1}))
    '12 .heic, 1 without extension'
    """
    shown = counted.most_common(5)
    more = f" and {len(counted) - 5} more kinds" if len(counted) > 5 else ""
    return ", ".join(f"{n:,} {suffix or 'without extension'}" for suffix, n in shown) + more


def kind_of(suffixes: Counter[str]) -> tuple[str, str] | None:
    """Say what data of another kind files are, by the commonest extension, and what to do.

    >>> from collections import Counter
    >>> kind_of(Counter({".wav": 300, ".txt": 1}))[0]
    'recordings of sound are not supported yet'
    """
    if not suffixes:
        return None
    commonest = suffixes.most_common(1)[0][0]
    if commonest in SOUND:
        return (
            "recordings of sound are not supported yet",
            "make a picture of each, for example a spectrogram, in one folder a class",
        )
    if commonest in VIDEO:
        return ("videos are not supported", "save pictures of them, in one folder a class")
    if commonest in OTHER_PICTURES:
        return (
            f"pictures of the kind {commonest} cannot be read",
            "convert them to JPEG or PNG",
        )
    if commonest in ARRAYS:
        return (
            f"arrays ({commonest}) are not read",
            "save the examples as pictures in one folder a class, or as a table of texts",
        )
    if commonest == ".txt":
        return (
            "texts in files of their own are not read",
            "put them into one table with the columns text and label",
        )
    return None
