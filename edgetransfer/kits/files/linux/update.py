"""Fetches the newest model for this kit from a folder on the web: python update.py ADDRESS.

    python update.py https://models.example/bees      fetch the newest, check it, put it in place
    python update.py --back                           put the one before it in place again

The folder holds ``index.tsv``, a version a line, the newest last: its name, the contract of its
model, the folder it lies in, and the SHA-256 of the ``files.tsv`` there; with tabs between. That
lists the files of the model, and those of its golden cases as ``golden/NAME``: SHA-256, bytes and
name. Nothing is put in place unless every digest is right and this device passes the new model's
own golden cases. The model folder is exchanged in one step, so that a program that starts finds the
old one or the new one; a program that runs keeps what it has opened.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Iterator, Tuple
from urllib.error import URLError
from urllib.request import urlopen

from check import Check
from edge_model import CONTRACT, EdgeModel, KitError, lines_of

INDEX, LISTED = "index.tsv", "files.tsv"
_MOST_TEXT, _MOST_BYTES = 1 << 20, 4 << 30
_SILENT_S = 30
_PART = r"[A-Za-z0-9_-][A-Za-z0-9._-]*"
_NAME = re.compile(f"(golden/)?{_PART}")
_VERSION = re.compile(_PART)
_FOLDER = re.compile(f"{_PART}(/{_PART})*")
_HERE_AT, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""


def update(address: str, model: Path) -> str:
    """Put the newest model of an address in place of the one at `model`; return what was done."""
    if not address.startswith(("http://", "https://")):
        raise KitError(f"{address} is no address that begins with https:// or http://")
    address = address.rstrip("/")
    version, folder, digest = _newest(address)
    listed = model / LISTED
    if listed.is_file() and _digest(listed.read_bytes()) == digest:
        return f"{version} is the newest, and is here"
    draft, kept = _beside(model)
    with _alone(model):
        shutil.rmtree(draft, ignore_errors=True)  # of an update that was killed
        try:
            _fetch(f"{address}/{folder}", digest, draft)
            _check(draft, model)
            _put(draft, model, kept)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return f"{version} is in place; python update.py --back undoes it"


def back(model: Path) -> str:
    """Exchange the model with the one before it; return what was done."""
    _, kept = _beside(model)
    if not kept.is_dir():
        raise KitError(f"{kept}: no model before this one is here")
    with _alone(model):
        exchange(kept, model)
    return "the model before is in place again"


def exchange(one: Path, other: Path) -> None:
    """Exchange two folders in one step; KitError where the file system cannot."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        raise KitError("this system's C library cannot exchange two folders in one step")
    if rename(_HERE_AT, os.fsencode(one), _HERE_AT, os.fsencode(other), _EXCHANGE):
        why = os.strerror(ctypes.get_errno())
        raise KitError(f"{one} and {other} cannot be exchanged in one step here: {why}")


def _newest(address: str) -> Tuple[str, str, str]:
    """Return the version, the folder and the digest of the newest model that this kit runs."""
    text = b"".join(_content(f"{address}/{INDEX}", _MOST_TEXT)).decode("utf-8", "replace")
    rows = [line.split("\t") for line in text.split("\n") if line]
    ours = [row for row in rows if len(row) == 4 and row[1] == CONTRACT]
    if not ours:
        raise KitError(f"{address}/{INDEX}: no model of contract {CONTRACT}, which this kit reads")
    version, _, folder, digest = ours[-1]
    if not (_VERSION.fullmatch(version) and _FOLDER.fullmatch(folder)):
        raise KitError(f"{address}/{INDEX}: no name of a version and of a folder: {ours[-1]}")
    return version, folder, digest


def _fetch(address: str, digest: str, draft: Path) -> None:
    """Fetch all files of a model, and hold each against its digest."""
    content = b"".join(_content(f"{address}/{LISTED}", _MOST_TEXT))
    _refuse_other(f"{address}/{LISTED}", _digest(content), digest)
    (draft / "golden").mkdir(parents=True)
    (draft / LISTED).write_bytes(content)
    for line in lines_of(draft / LISTED):
        wanted, _, rest = line.partition("\t")
        size, _, name = rest.partition("\t")
        if not (size.isdigit() and _NAME.fullmatch(name)) or int(size) > _MOST_BYTES:
            raise KitError(f"{address}/{LISTED}: not a digest, bytes and a name: {line!r}")
        found = hashlib.sha256()
        with (draft / name).open("wb") as file:
            for part in _content(f"{address}/{name}", int(size)):
                found.update(part)
                file.write(part)
            _to_disk(file)
        _refuse_other(f"{address}/{name}", found.hexdigest(), wanted)


def _content(address: str, most: int) -> Iterator[bytes]:
    """Yield what is at an address, in parts; KitError where it is more than it may be."""
    try:
        with urlopen(address, timeout=_SILENT_S) as answer:
            for part in iter(lambda: answer.read(1 << 16), b""):
                most -= len(part)
                if most < 0:
                    raise KitError(f"{address}: more bytes than are listed")
                yield part
    except (URLError, OSError, ValueError) as error:
        raise KitError(f"{address} cannot be fetched: {error}") from error


def _check(draft: Path, model: Path) -> None:
    """Refuse a model of another kind than the one in place, or whose golden cases fail here."""
    new, old = EdgeModel(draft), EdgeModel(model)
    if new.takes_texts != old.takes_texts:
        raise KitError(f"the new model takes a {new.settings['kind']}, the one in place does not")
    check = Check(new, draft / "golden")
    check.run()
    if check.wrong:
        more = f" (and {len(check.wrong) - 1} more)" if check.wrong[1:] else ""
        raise KitError(f"the new model fails its golden cases here: {check.wrong[0]}{more}")


def _put(draft: Path, model: Path, kept: Path) -> None:
    """Put a draft in place of a model, which is kept; all stays where that fails."""
    exchange(draft, model)
    try:
        shutil.rmtree(kept, ignore_errors=True)
        draft.rename(kept)
    except OSError:
        exchange(draft, model)
        raise


def _beside(model: Path) -> Tuple[Path, Path]:
    """Return where a model is fetched to, and where the one before is kept."""
    return model.with_name(model.name + ".new"), model.with_name(model.name + ".before")


@contextmanager
def _alone(model: Path) -> Iterator[None]:
    """Hold off another update of the same model; the lock ends with the process."""
    folder = os.open(str(model.parent), os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
        os.fsync(folder)
    finally:
        os.close(folder)


def _to_disk(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _refuse_other(address: str, found: str, wanted: str) -> None:
    if found != wanted:
        raise KitError(f"{address}: the digest is {found}, and {wanted} is listed")


def main() -> int:
    """Update or go back, and print what was done; 1 where nothing was."""
    options = argparse.ArgumentParser(description="Fetches the newest model for this kit.")
    options.add_argument("address", nargs="?", help="a folder on the web with an index.tsv")
    options.add_argument("--back", action="store_true", help="take the model before this one")
    given = options.parse_args()
    if (given.address is None) is not given.back:
        options.error("give an address, or --back")
    model = Path(__file__).parent / "model"
    try:
        print(back(model) if given.back else update(given.address, model))
    except (KitError, OSError) as error:
        print(f"{error}\nnothing was changed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
