"""Keeps what each stage made, under the digest of what went into it, so that a run can resume."""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from edgetransfer.bundle.files import digests_below, read_json, sync, write_json, writing
from edgetransfer.errors import IntegrityError
from edgetransfer.pipeline.stage.stage import RECORD, Cost, Stage, StageResult, watched
from edgetransfer.spec.memory import reused
from edgetransfer.spec.progress import Progress, silent

ENTRY = "stage.json"
_PARTIAL = ".partial"
Visit = tuple[str, StageResult]
"""The name of a stage that was entered, and what it left."""


@dataclass(frozen=True)
class Entry:
    """One line of ``edgetransfer cache list``."""

    stage: str
    key: str
    bytes: int
    made_at: float


class Store:
    """A folder of finished stages.

    It is made if it is not there, with a StageError where it cannot be; `visits` are the stages
    that were entered, in order, each once.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.visits: list[Visit] = []
        self._known: dict[tuple[str, str], StageResult] = {}
        with writing(root):
            root.mkdir(parents=True, exist_ok=True)

    def has(self, stage: Stage) -> bool:
        """Tell whether what a stage makes is there whole."""
        return self._reuse(self._folder(stage), stage.key) is not None

    def _folder(self, stage: Stage) -> Path:
        return self.root / stage.name / stage.key[:24]

    def keep(self, stage: Stage, progress: Progress = silent) -> StageResult:
        """Return what a stage leaves, making it only where it is not there whole.

        It is made in a folder of its own, which gets its final name only when all its files
        are on the disk: a crash leaves nothing that could be taken for a result. Where another run
        was faster, what that one kept is taken: a finished stage is never written twice. StageError
        without space, or the right to write.
        """
        known = self._known.get((stage.name, stage.key))
        if known is not None and known.folder.is_dir():  # of this run: nothing is read again
            return replace(known, reused=True)
        kept = self._reuse(self._folder(stage), stage.key) or self._make(stage, progress)
        self._known[stage.name, stage.key] = kept
        self.visits.append((stage.name, kept))
        return kept

    def _make(self, stage: Stage, progress: Progress) -> StageResult:
        folder = self._folder(stage)
        with watched() as cost, writing(self.root):
            folder.parent.mkdir(parents=True, exist_ok=True)
            _sweep(folder.parent)
            name = f"{_PARTIAL}-{platform.node()}-{os.getpid()}-"
            partial = Path(tempfile.mkdtemp(prefix=name, dir=folder.parent))
            try:
                with one_thread(), reused():
                    record = stage.make(partial, progress)
                write_json(partial / RECORD, record)
                spent = cost()
                self._finish(partial, folder, {"key": stage.key, **spent._asdict()})
            except BaseException:
                shutil.rmtree(partial, ignore_errors=True)
                raise
        return StageResult(folder, stage.key, reused=False, cost=spent)

    def _reuse(self, folder: Path, key: str) -> StageResult | None:
        try:
            entry = read_json(folder / ENTRY)
        except IntegrityError:
            return None
        found = {name: sha for name, sha in digests_below(folder).items() if name != ENTRY}
        told = {"key", "files", *Cost._fields} <= set(entry)  # an older version told less
        if not told or entry["key"] != key or found != entry["files"]:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        cost = Cost(*(entry[each] for each in Cost._fields))
        return StageResult(folder, key, reused=True, cost=cost)

    def _finish(self, partial: Path, folder: Path, entry: Mapping[str, Any]) -> None:
        text = json.dumps({**entry, "files": digests_below(partial)}, indent=1)
        (partial / ENTRY).write_text(text, encoding="utf-8")
        for path in [*partial.rglob("*"), partial]:
            sync(path)
        try:
            partial.rename(folder)
        except OSError:  # another run was faster, or left it broken
            if self._reuse(folder, entry["key"]) is not None:
                shutil.rmtree(partial)
                return
            shutil.rmtree(folder, ignore_errors=True)
            partial.rename(folder)
        sync(folder.parent)

    def entries(self) -> list[Entry]:
        """List everything that is kept, newest first."""
        found = []
        for file in self.root.glob(f"*/*/{ENTRY}"):
            folder = file.parent
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            found.append(Entry(folder.parent.name, folder.name, size, file.stat().st_mtime))
        return sorted(found, key=lambda entry: -entry.made_at)

    def clean(self, *, older_than_s: float = 0.0) -> int:
        """Delete stages made longer ago than `older_than_s`; return the bytes freed."""
        freed = 0
        now = time.time()
        with writing(self.root):
            for entry in self.entries():
                if now - entry.made_at >= older_than_s:
                    shutil.rmtree(self.root / entry.stage / entry.key)
                    freed += entry.bytes
            for folder in self.root.glob("*"):
                _sweep(folder)
        return freed


class _Threads:
    """How many threads torch had before the first limit that holds now, None without one."""

    given: int | None = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch and the libraries of linear algebra compute with one thread.

    Threads that wait for each other in a loop take 8 to 40 times as long on cores that others use
    too. Training tries how many are faster, and takes these: see `given_threads`.
    """
    torch = sys.modules.get("torch")
    if _Threads.given is not None or torch is None:
        with threadpool_limits(limits=1):
            yield
        return
    _Threads.given = torch.get_num_threads()
    try:
        with threadpool_limits(limits=1):
            torch.set_num_threads(1)
            yield
    finally:
        torch.set_num_threads(_Threads.given)
        _Threads.given = None


def given_threads() -> int:
    """Return how many threads torch may take, whatever limit holds now."""
    import torch

    return _Threads.given or torch.get_num_threads()


@contextmanager
def scratch(partial: Path) -> Iterator[Path]:
    """Yield a folder for intermediate files of a stage: what a killed run leaves is swept up."""
    folder = partial / "scratch"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(stage: Path) -> None:
    """Remove what runs of this machine left that are not alive any more."""
    prefix = f"{_PARTIAL}-{platform.node()}-"
    for folder in stage.glob(f"{prefix}*"):
        owner = folder.name.removeprefix(prefix).partition("-")[0]
        if owner.isdigit() and not _is_alive(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is somebody else's
        pass
    return True
