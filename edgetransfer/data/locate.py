"""What stands at a data source, and what names there say: a split, leavings, a kind of data."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.data.decode import PICTURE_SUFFIXES
from edgetransfer.data.tables import TABLE_SUFFIXES
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.data.manifest import Split

SPLIT_NAMES: Mapping[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "holdout"), "test"),
}
"""What folders, tables and cells of a split column may be called, in lower case."""
_EITHER = {"eval", "evaluation"}
"""Used for either set that is not fitted on."""
_WORDS: Mapping[str, Split] = {
    **SPLIT_NAMES,
    **dict.fromkeys(("development", "devel"), "validation"),
    "heldout": "test",
}
_OF_A_SET = re.compile(r"(?<=[a-z])(sets?|data|images|imgs)$")
_SYSTEM = {
    *("__macosx", "@eadir", "#recycle", "@recycle", "$recycle.bin", "recycler", "lost+found"),
    *("system volume information", "__pycache__", "thumbs.db", "ehthumbs.db", "desktop.ini"),
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
    >>> suffixes_told(Counter({".heic": 12, "": 1}))
    '12 .heic, 1 without extension'
    """
    shown = counted.most_common(5)
    more = f" and {len(counted) - 5} more kinds" if len(counted) > 5 else ""
    return ", ".join(f"{n:,} {suffix or 'without extension'}" for suffix, n in shown) + more


_OTHER_KINDS: tuple[tuple[set[str], str, str], ...] = (
    (
        SOUND,
        "recordings of sound are not supported yet",
        "make a picture of each, for example a spectrogram, in one folder a class",
    ),
    (VIDEO, "videos are not supported", "save pictures of them, in one folder a class"),
    (OTHER_PICTURES, "pictures of the kind {} cannot be read", "convert them to JPEG or PNG"),
    (
        ARRAYS,
        "arrays ({}) are not read",
        "save the examples as pictures in one folder a class, or as a table of texts",
    ),
    (
        {".txt"},
        "texts in files of their own are not read",
        "put them into one table with the columns text and label",
    ),
)


def kind_of(suffixes: Counter[str]) -> tuple[str, str] | None:
    """Say what data of another kind files are, by the commonest extension, and what to do.

    >>> from collections import Counter
    >>> kind_of(Counter({".wav": 300, ".txt": 1}))[0]
    'recordings of sound are not supported yet'
    """
    for commonest, _ in suffixes.most_common(1):
        for held, what, fix in _OTHER_KINDS:
            if commonest in held:
                return what.format(commonest), fix
    return None


_EXPECTED = "a folder of pictures, or a CSV, TSV, JSONL or Parquet table"
_SHARD = re.compile(r"-\d+-of-\d+$")
_INSTEAD: Mapping[str, str] = {
    ".json": "save one object a line as .jsonl; annotations for detection (COCO) are not supported",
    **dict.fromkeys((".xlsx", ".xls"), "save the sheet as CSV (UTF-8)"),
    ".txt": "give it a header and save it as CSV",
    **dict.fromkeys((".zip", ".tar", ".tgz"), "unpack it and give the folder"),
    ".gz": "unpack it and give the folder or the table",
    **dict.fromkeys(PICTURE_SUFFIXES, "give the folder that the picture is in"),
}


@dataclass(frozen=True)
class NamedTable:
    """A table, and the split that its name gives, if any."""

    path: Path
    split: Split | None = None


@dataclass(frozen=True)
class DataLocation:
    """Where the data is; without tables it is a folder of pictures."""

    root: Path
    tables: tuple[NamedTable, ...] = ()
    notes: tuple[str, ...] = ()


def locate(source: str) -> DataLocation:
    """Find out what a source is; DataError where it is nothing, no data, or several tables."""
    path = Path(source).expanduser()
    if not path.exists():
        raise _missing(source, path.absolute())
    if path.is_dir():
        return _in_folder(path.resolve())
    suffix = path.suffix.lower()
    if suffix not in TABLE_SUFFIXES:
        kind = None if suffix in _INSTEAD else kind_of(Counter([suffix]))
        raise DataError(
            kind[0] if kind else "not a data set that can be read",
            where=source,
            found=f"a file with the extension {suffix}" if suffix else "a file with no extension",
            expected=_EXPECTED,
            fix=kind[1] if kind else _INSTEAD.get(suffix),
        )
    if not path.is_file():
        raise DataError("no regular file", where=source, expected=_EXPECTED)
    # Only the folder is resolved: a linked table names files relative to where the link stands.
    root = path.parent.resolve()
    return DataLocation(root, (NamedTable(root / path.name),))


def _in_folder(folder: Path) -> DataLocation:
    found = (p for p in folder.iterdir() if p.is_file() and not is_leaving(p.name))
    tables = sorted(p for p in found if p.suffix.lower() in TABLE_SUFFIXES)
    stems = {p: _SHARD.sub("", p.stem) for p in tables}
    # Of a table alone, a word in its name is no split: "dev questions.csv" is all there is.
    alone = len(tables) == 1 and stems[tables[0]].lower() not in SPLIT_NAMES
    meant = dict.fromkeys(stems.values()) if alone else splits_of(stems.values())
    named = [NamedTable(p, meant[stems[p]]) for p in tables]
    of_splits = [t for t in named if t.split is not None]
    if of_splits:
        _refuse_twice(folder, of_splits)
        of_splits.sort(key=lambda t: (t.split != "train", t.split == "test", t.path.name))
        rest = [t.path.name for t in named if t.split is None]
        notes = [f"left out beside the tables for splits: {', '.join(rest)}"] if rest else []
        return DataLocation(folder, tuple(of_splits), tuple(notes))
    if len(named) > 1:
        raise DataError(
            "more than one table in the folder",
            where=str(folder),
            found=", ".join(t.path.name for t in named),
            expected="one table, or tables named train, val and test",
            fix="give the table itself",
        )
    return DataLocation(folder, tuple(named))


def _refuse_twice(folder: Path, tables: list[NamedTable]) -> None:
    """train.csv beside train.tsv is one set saved twice; numbered shards are one set in parts."""
    seen: dict[str, Path] = {}
    for table in tables:
        first = seen.setdefault(str(table.split), table.path)
        shards = _SHARD.search(table.path.stem) and _SHARD.search(first.stem)
        if first != table.path and not shards:
            raise DataError(
                f"two tables for the split {table.split}",
                where=str(folder),
                found=f"{first.name} and {table.path.name}",
                fix="put them together, or take one away",
            )


def _missing(source: str, path: Path) -> DataError:
    if re.match(r"(hf|https?|s3|gs)://|hf:", source):
        return DataError(
            "data is read from this machine only",
            where=source,
            found="an address",
            expected=_EXPECTED,
            fix="download it first and give the folder",
        )
    fix = "check the path"
    if re.fullmatch(r"[\w.-]+/[\w.-]+", source) and not source.startswith("."):
        fix += "; if this is a data set of the Hugging Face Hub, download it and give the folder"
    parent = next(p for p in path.parents if p.exists())
    return DataError(
        "no such folder or file",
        where=source,
        found=f"nothing; the nearest folder that exists is {parent}",
        expected=_EXPECTED,
        fix=fix,
    )
