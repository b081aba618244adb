"""Puts a finished folder in its place in one step, and keeps two runs from writing the same."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edgetransfer.bundle.files import sync, writing
from edgetransfer.bundle.opened import BENCH, MANIFEST, REWRITTEN, SCHEMA, walked
from edgetransfer.errors import IntegrityError, SpecError, StageError
from edgetransfer.spec.outside import json_of, parsed, printable

LOCK = ".edgetransfer.lock"
"""In a folder that a run writes several things to."""
_AT_CWD, _EXCHANGE = -100, 2
_CARRIED = frozenset({"portability.json"})
"""Of what is written again: what measurements found stays true of the same bytes."""


@contextmanager
def locked(file: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold a lock that the kernel drops when its owner ends; others may hold a shared one too.

    StageError where somebody else holds it, or it cannot be made.
    """
    with writing(file.parent):
        handle = _acquire(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
    try:
        yield
    finally:
        with suppress(OSError):  # others that share it may still need the file
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        os.close(handle)


def _acquire(file: Path, how: int) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = os.open(file, flags, 0o666)
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(handle)
            os.close(handle)
            raise StageError(
                "another run works in this folder",
                where=str(file.parent),
                found=owner,
                fix="wait until it ends, or name another folder with --out",
            ) from error
        with suppress(OSError):
            if os.path.samestat(os.fstat(handle), file.stat()):
                break
        os.close(handle)  # its last owner took the file away meanwhile
    now = datetime.now(UTC).isoformat(" ", "seconds")
    told = {"pid": os.getpid(), "host": platform.node(), "since": now}
    os.ftruncate(handle, 0)
    os.pwrite(handle, json.dumps(told).encode(), 0)
    return handle


def _owner(handle: int) -> str:
    try:
        told = parsed(os.pread(handle, 4096, 0), "lock")
        words = f"process {told['pid']} on {told['host']}, since {told['since']}"
    except (IntegrityError, KeyError, TypeError):
        return "a process that does not say which it is"
    return printable(words)[:200]


def bundle_lock(folder: Path) -> Path:
    """Return the lock of a bundle: beside it, for the folder itself is exchanged."""
    return folder.parent / f".{folder.name}.lock"


@dataclass(frozen=True)
class Draft:
    """A bundle that is being put together in an empty folder, which takes the old one's place.

    `beside` names files of somebody else that lie in the old bundle, and stay there.
    """

    folder: Path
    beside: tuple[str, ...]


@contextmanager
def replacing(folder: Path) -> Iterator[Draft]:
    """Yield an empty folder beside `folder`, which takes its place when all went well.

    What an older bundle there lists is replaced; what else lies in it stays. At every moment either
    the old bundle or the new one is in place (``renameat2`` with RENAME_EXCHANGE; where a system
    has no such thing, a run that is killed between two renames leaves the old one beside its place,
    and the next run puts it back). The caller holds `bundle_lock`. SpecError where what stands
    there is no bundle of ours, StageError without space or the right to write there.
    """
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _recover(folder)
        beside = foreign_in(folder)
        partial = folder.parent / _fresh_name(folder, "new")
        partial.mkdir()
        try:
            yield Draft(partial, beside)
            _carry(folder, partial, beside)
            _sync(partial)
            _swap(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def finished_in(folder: Path) -> Iterator[Path]:
    """Yield an empty folder beside `folder`, which takes its place when all went well.

    What stands there is removed: see before that it may be. StageError without space or the right
    to write there.
    """
    with writing(folder.parent):
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial = folder.parent / _fresh_name(folder, "new")
        partial.mkdir()
        try:
            yield partial
            _sync(partial)
            _swap(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _fresh_name(folder: Path, word: str) -> str:
    return f".{folder.name}.{word}-{secrets.token_hex(4)}"


def _recover(folder: Path) -> None:
    """Put back what a killed run had moved aside, and remove what others left half made."""
    mine = re.compile(rf"\.{re.escape(folder.name)}\.(new|old)-\w+")
    left = [each for each in folder.parent.iterdir() if mine.fullmatch(each.name)]
    old = [each for each in left if ".old-" in each.name and (each / MANIFEST).is_file()]
    if old and not os.path.lexists(folder):
        max(old, key=lambda each: each.stat().st_mtime).rename(folder)
    for each in left:
        shutil.rmtree(each, ignore_errors=True)


def foreign_in(folder: Path) -> tuple[str, ...]:
    """Return the files in a bundle's place that are not of it; SpecError of what is no bundle."""
    if not os.path.lexists(folder):
        return ()
    fix = "move it away, or name another folder with --out"
    if folder.is_symlink() or not folder.is_dir():
        found = "a link" if folder.is_symlink() else "a file"
        raise SpecError("stands where the bundle goes", where=str(folder), found=found, fix=fix)
    if not any(folder.iterdir()):
        return ()
    try:
        manifest = json_of(folder / MANIFEST)
        known = manifest["files"] if manifest["schema"] == SCHEMA else None
    except (IntegrityError, KeyError, TypeError):
        known = None
    if not isinstance(known, dict):
        raise SpecError(
            "stands where the bundle goes, and is no bundle of ours",
            where=str(folder),
            found=", ".join(printable(each.name) for each in sorted(folder.iterdir())[:5]),
            expected=f"nothing, or a folder whose {MANIFEST} lists what it holds",
            fix=fix,
        )
    return tuple(
        name
        for name in sorted(walked(folder))
        if name not in known and name not in REWRITTEN and not name.startswith(f"{BENCH}/")
    )


def _carry(folder: Path, partial: Path, beside: tuple[str, ...]) -> None:
    """Give the new folder what stays of the old one: links where the system has them, no copies."""
    if not folder.is_dir():
        return
    if os.path.lexists(folder / BENCH):
        shutil.copytree(folder / BENCH, partial / BENCH, symlinks=True, copy_function=_link)
    for name in (*beside, *(each for each in _CARRIED if (folder / each).is_file())):
        if os.path.lexists(partial / name):
            raise SpecError(
                "a file that is not the bundle's has the name of one that is",
                where=printable(str(folder / name)),
                fix="move it away, and run the same command again",
            )
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        _link(str(folder / name), str(partial / name))


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(source, target, follow_symlinks=False)
    return target


def _sync(folder: Path) -> None:
    """Have every file on the disk before its folder gets its name."""
    for each in (*folder.rglob("*"), folder):
        if not each.is_symlink() and (each.is_file() or each.is_dir()):
            sync(each)


def _swap(new: Path, folder: Path) -> None:
    """Put `new` at `folder`; what was there is removed."""
    if not os.path.lexists(folder):
        new.rename(folder)
    elif not _exchange(new, folder):
        old = folder.parent / _fresh_name(folder, "old")
        folder.rename(old)
        new.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system or the file system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(call(_AT_CWD, os.fsencode(one), _AT_CWD, os.fsencode(other), _EXCHANGE) == 0)
