"""What was read from disk before it was checked and split: records, problems, notes."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.data.manifest import Modality, Split


@dataclass(frozen=True, slots=True)
class Record:
    """One example as found: `split` is None where none was given, `digest` empty until decoded.

    `where` is how messages name it: the picture, or the table and its row.
    """

    key: str
    where: str
    path: Path | None
    text: str | None
    label: str | None
    split: Split | None
    metadata: Mapping[str, str] = field(hash=False)
    digest: str = ""


@dataclass(frozen=True)
class RawData:
    """Everything one source holds.

    Attributes:
        modality: pictures or texts.
        root: absolute folder that keys are relative to.
        records: the usable rows or pictures; those with a problem are not among them.
        problems: one line each, with file and row; any of them stops a build.
        notes: sentences for the user.
        tables: the table files; empty for a folder of pictures.
        files: every picture found or named, also those in rows with a problem.
    """

    modality: Modality
    root: Path
    records: tuple[Record, ...]
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
