"""Adds a model to a folder that apps fetch models from, and says in its index which is the newest.

The folder is served as it is, by any web server: ``index.tsv`` has a version a line, the newest
last: its name, the contract of its model, its folder, and the SHA-256 of the ``files.tsv`` there,
which lists the files of the model and its golden cases with their own. A kit takes the newest of
its contract, and nothing whose digest is another (`update.py` of the kit for Linux).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edgetransfer.bundle.files import digest_of, write_whole, writing
from edgetransfer.bundle.opened import open_bundle
from edgetransfer.bundle.swap import LOCK, finished_in, locked
from edgetransfer.errors import SpecError
from edgetransfer.kits.model_folder import (
    CONTRACT,
    LISTED,
    list_files,
    refuse_inside,
    refuse_unfit,
    write_golden_cases,
    write_model_folder,
)
from edgetransfer.spec.outside import Kind, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

INDEX = "index.tsv"
_INDEX = Kind("index of models", expected="as `edgetransfer push` wrote it")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Pushed(NamedTuple):
    """A line of the index."""

    version: str
    contract: str
    folder: str
    digest: str


def push(bundle: Path, folder: Path, version: str | None = None) -> Pushed:
    """Add the model of a bundle to a folder, as the newest; return its line of the index.

    Without a version it gets the next whole number. SpecError for a version that is there already,
    or that is no name of a folder; UnsupportedError where no kit runs the bundle.
    """
    opened = open_bundle(bundle)
    refuse_unfit(opened)
    refuse_inside(opened, folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / LOCK):
        known = read_index(folder / INDEX)
        numbers = [int(each.version) for each in known if each.version.isdigit()]
        name = version or str(1 + max(numbers, default=0))
        _refuse(name, known, folder)
        with finished_in(folder / name) as draft:
            write_model_folder(opened, draft)
            write_golden_cases(opened, draft / "golden")
            list_files(draft)
        added = Pushed(name, CONTRACT, name, digest_of(folder / name / LISTED))
        lines = ("\t".join(each) + "\n" for each in (*known, added))
        write_whole(folder / INDEX, "".join(lines).encode())
    return added


def read_index(file: Path) -> list[Pushed]:
    """Return the lines of an index, the newest last; none where there is no file."""
    if not file.is_file():
        return []
    rows = [line.split("\t") for line in text_of(file, _INDEX).splitlines()]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(Pushed._fields):
            raise _INDEX.fault("not a line of the index", f"{file} line {number}", repr(row)[:80])
    return [Pushed(*row) for row in rows]


def _refuse(version: str, known: Sequence[Pushed], folder: Path) -> None:
    if not _VERSION.fullmatch(version):
        raise SpecError(
            "not a version", where="--version", found=repr(version),
            expected="letters, digits, points and dashes: 1.4.0",
        )  # fmt: skip
    if (folder / version).exists() or any(each.version == version for each in known):
        raise SpecError(
            "that version is there already: apps may have fetched it",
            where=str(folder / version),
            fix="name another with --version",
        )
