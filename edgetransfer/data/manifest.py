"""The examples of one data set: as found, and with their roles as a frozen value with a digest."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from edgetransfer.errors import DataError
from edgetransfer.spec.preprocess import INPUTS, Input

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgetransfer.spec.preprocess import Modality

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True, slots=True)
class Example:
    """One picture or one short text.

    The key is stable and unique within the data set: for a picture its POSIX path relative to the
    data root, for a text ``row N`` (``train.csv row N`` where there are several tables). A text
    stands as it does in the table; the label is the text of its cell or the name of its folder,
    None where the data has none. It is fitted on in train, chosen on in validation, judged once in
    test; the split is None until there is one, and the metadata are the table's other columns. The
    digest, sha256 (hex) of the decoded RGB content with its shape, or of the normalised text, tells
    what counts as the same example; it is empty until that was decoded. `where` is how messages
    name what is being read: the picture, or the table and its row.
    """

    key: str
    path: Path | None
    text: str | None
    label: str | None
    split: Split | None
    metadata: Mapping[str, str] = field(hash=False)
    digest: str = ""
    where: str = field(default="", compare=False)

    @property
    def content(self) -> str:
        """sha256 (hex) of all that a network reads of it: of a text as it stands, case and all."""
        if self.text is None:
            return self.digest
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class Manifest:
    """All examples of a data set: pictures by key, or texts by row, in reading order; never both.

    Labels are what ``labels.txt`` will hold, see `data.labels.LabelRules.names`; pictures' keys are
    relative to the absolute path `root`. Notes are sentences for a human: how the splits came to
    be, what was left out, warnings; `dropped` counts, by reason, what was taken out of train and
    validation. Where the validation set was `carved` out of the training examples here, what was
    chosen on it is then fitted on it too.
    """

    modality: Modality
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    root: str
    notes: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict, hash=False)
    carved: bool = False

    @property
    def input(self) -> Input:
        """The kind of input that the examples are: what follows of it is asked there."""
        return INPUTS[self.modality]

    def split(self, name: Split) -> tuple[Example, ...]:
        """Examples of one role, in reading order."""
        return tuple(e for e in self.examples if e.split == name)

    @property
    def fitted(self) -> tuple[Example, ...]:
        """What is fitted on in the end: train, then validation where that was carved out of it."""
        return (*self.split("train"), *(self.split("validation") if self.carved else ()))

    @property
    def given(self) -> tuple[Example, ...]:
        """The validation set that somebody gave, which is only judged on."""
        return () if self.carved else self.split("validation")

    def label_index(self, examples: Iterable[Example]) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return labels' positions in `labels`, int64 [N]; DataError of one that is not there."""
        position = {label: i for i, label in enumerate(self.labels)}
        found = []
        for example in examples:
            if example.label is None or example.label not in position:
                raise DataError(
                    "the example has no label of this data set",
                    where=example.key,
                    found="no label" if example.label is None else repr(example.label),
                    expected=f"one of {', '.join(self.labels)}",
                )
            found.append(position[example.label])
        return np.array(found, dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """sha256 (hex) over keys, contents, labels, splits: not place, order or other columns."""
        return _digest(self.examples, [self.modality, *self.labels])

    def split_digests(self) -> dict[Split, str]:
        """`digest` for each split that has examples."""
        head = [self.modality, *self.labels]
        return {name: _digest(part, head) for name in SPLITS if (part := self.split(name))}

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; paths are relative to `root`."""
        fields = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {**fields, "examples": [_pack(example, self.root) for example in self.examples]}

    @classmethod
    def from_json(cls, payload: Mapping[str, Any]) -> Manifest:
        """Read what `to_json` wrote."""
        paths = [row["path"] and Path(payload["root"], row["path"]) for row in payload["examples"]]
        rows = zip(payload["examples"], paths, strict=True)
        examples = tuple(Example(**{**row, "path": path}) for row, path in rows)
        listed = {key: tuple(payload[key]) for key in ("labels", "notes")}
        return cls(**{**payload, **listed, "examples": examples})


def content_of(examples: Iterable[Example]) -> str:
    """Return a digest of what examples hold, in their order."""
    return hashlib.sha256(" ".join(example.content for example in examples).encode()).hexdigest()


def _digest(examples: Iterable[Example], head: list[str]) -> str:
    rows = sorted((e.key, e.content, e.label or "", e.split) for e in examples)
    canonical = json.dumps([head, rows], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _pack(example: Example, root: str) -> dict[str, Any]:
    path = example.path
    # A table may name a picture outside the root, which `relative_to` would refuse in 3.11.
    if path is not None and path.is_relative_to(root):
        path = path.relative_to(root)
    fields = {each.name: getattr(example, each.name) for each in dataclasses.fields(example)}
    del fields["where"]
    return {**fields, "path": None if path is None else path.as_posix()}


@dataclass(frozen=True)
class RawData:
    """Everything one source holds; keys are relative to its absolute folder.

    Records are the usable rows or pictures; problems, of which any stops a build, are a line each
    with file and row; notes are sentences for the user. There are no tables in a folder of
    pictures; `files` has every picture found or named, also those in rows with a problem.
    """

    modality: Modality
    root: Path
    records: tuple[Example, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tables: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()


def count(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> count(1, "row"), count(1200, "row"), count(2, "class", "classes")
    ('1 row', '1,200 rows', '2 classes')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


_UNSEEN = re.compile("[\u00ad\u200b\u200e\u200f\u2060\ufeff]")
"""Soft hyphens, zero-width spaces and marks of direction, as spreadsheets and web pages leave."""


def clean_label(raw: str) -> str:
    r"""A label on one line as it is seen: without unseen characters, surrounding or double space.

    Composed, for macOS decomposes folder names.

    >>> clean_label(" New\u00a0York\u200b\n"), clean_label("cafe\u0301") == "caf\u00e9"
    ('New York', True)
    """
    return unicodedata.normalize("NFC", " ".join(_UNSEEN.sub("", raw).split()))
