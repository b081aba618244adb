"""Keeps engines on the device that built them: they hold code, and none comes from elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Mapping, Optional

from edgetransfer.agent.runtimes import Unavailable

FOLDER = "EDGETRANSFER_ENGINES"
"""Environment variable that names the folder."""
_DIGITS = 16
Key = Mapping[str, str]
"""What an engine is bound to; its `model` is the digest of the ONNX file."""


def folder_of(environment: Mapping[str, str]) -> Path:
    """Return where engines are kept."""
    if environment.get(FOLDER):
        return Path(environment[FOLDER])
    base = environment.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "edgetransfer" / "engines"


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _name(key: Key) -> str:
    return _digest(json.dumps(dict(key), sort_keys=True).encode())[:_DIGITS]


def _write(file: Path, content: bytes) -> None:
    """Write a whole file or none."""
    handle, partial = tempfile.mkstemp(dir=str(file.parent))
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    Path(partial).replace(file)


class EngineCache:
    """Engines in a folder of this user alone; `Unavailable` where others may write to it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
        if state.st_uid != os.getuid() or state.st_mode & 0o022:
            raise Unavailable(
                "%s: engines are code, and others than this user can write there; "
                "chmod 700 it, or name another folder in %s" % (folder, FOLDER)
            )
        self._folder = folder

    def _files(self, key: Key) -> "tuple[Path, Path]":
        stem = "%s-%s" % (key["model"][:_DIGITS], _name(key))
        return self._folder / (stem + ".plan"), self._folder / (stem + ".json")

    def take(self, key: Key) -> Optional[bytes]:
        """Return the engine of a key; None where there is none, or it is not whole."""
        plan, record = self._files(key)
        try:
            content, told = plan.read_bytes(), json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        whole = told.get("key") == dict(key) and told.get("sha256") == _digest(content)
        return content if whole else None

    def keep(self, key: Key, plan: bytes) -> None:
        """Keep an engine, and drop those of the same model and settings that are stale now."""
        for old in self._folder.glob(key["model"][:_DIGITS] + "-*.json"):
            if self._is_stale(old, key):
                old.with_suffix(".plan").unlink(missing_ok=True)
                old.unlink(missing_ok=True)
        file, record = self._files(key)
        _write(file, plan)
        told = {"key": dict(key), "sha256": _digest(plan)}
        _write(record, json.dumps(told, indent=1, sort_keys=True).encode())

    def _is_stale(self, record: Path, key: Key) -> bool:
        """Tell whether a record is of the same model and settings, for another machine state."""
        try:
            told = json.loads(record.read_text(encoding="utf-8"))["key"]
        except (OSError, ValueError, KeyError):
            return True
        same = all(told.get(part) == key[part] for part in ("model", "settings"))
        return same and told != dict(key)

    def _timings(self, key: Key) -> Path:
        device = {part: text for part, text in key.items() if part not in ("model", "settings")}
        return self._folder / ("timings-%s.cache" % _name(device))

    def timings(self, key: Key) -> bytes:
        """Return what earlier builds timed on the same device and version."""
        try:
            return self._timings(key).read_bytes()
        except OSError:
            return b""

    def keep_timings(self, key: Key, content: bytes) -> None:
        """Keep what builds timed."""
        _write(self._timings(key), content)
