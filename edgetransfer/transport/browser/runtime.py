"""Keeps the files of onnxruntime-web on this machine, each known by its digest."""

from __future__ import annotations

import shutil
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Literal

from edgetransfer.bundle.files import digest_of
from edgetransfer.errors import IntegrityError, StageError, UnsupportedError
from edgetransfer.spec.catalogue import default_cache
from edgetransfer.transport.outcome import ran

Engine = Literal["wasm", "webgpu"]
VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
PREPARE = "edgetransfer doctor --prepare browser"
FILES: Mapping[Engine, Mapping[str, str]] = {
    "wasm": {
        "ort.wasm.min.mjs": "219e6a1fc8a9938268d18efca3c91d310bd2f4a59bbd13744df5b2b7fc6cee3b",
        "ort-wasm-simd-threaded.mjs": (
            "e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b"
        ),
        "ort-wasm-simd-threaded.wasm": (
            "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2"
        ),
    },
    "webgpu": {
        "ort.webgpu.min.mjs": "3dffff71811bc13a3a3d9591c57ca5ee5735b8f5f3eaf789510b02bb040ae3a0",
        "ort-wasm-simd-threaded.asyncify.mjs": (
            "3d1c85995364bb643302fc6fd877a0c3ba5ae72401815e0f24828a53d9191e28"
        ),
        "ort-wasm-simd-threaded.asyncify.wasm": (
            "39f9f0894d478800487ed9f7dbe92618498db320cf55c8e3d89adff8dce658da"
        ),
    },
}
"""For each engine its module, then the two files that the module loads; SHA-256 of each."""


def folder() -> Path:
    """Return where the files are kept."""
    return default_cache() / "browser" / PACKAGE


def prepared(engine: Engine, kept: Path | None = None) -> dict[str, Path]:
    """Return the files of an engine by name, each checked against its digest.

    UnsupportedError where they are not there, IntegrityError where one is not what it was.
    """
    kept = kept or folder()
    found = {name: kept / name for name in FILES[engine]}
    absent = [name for name, file in found.items() if not file.is_file()]
    if absent:
        raise UnsupportedError(
            "the runtime for browsers is not prepared",
            where=str(kept),
            found=f"no {', '.join(absent)}",
            fix=PREPARE,
        )
    for name, file in found.items():
        _check(file, FILES[engine][name])
    return found


def prepare(kept: Path | None = None, *, npm: str = "npm") -> Path:
    """Fetch the files with npm, unless they are there, and return their folder.

    UnsupportedError without npm, StageError where it fails, IntegrityError where another file came.
    """
    kept = kept or folder()
    names = {name: digest for engine in FILES.values() for name, digest in engine.items()}
    if all((kept / name).is_file() for name in names):
        for name, digest in names.items():
            _check(kept / name, digest)
        return kept
    if shutil.which(npm) is None:
        raise UnsupportedError(
            f"fetching {PACKAGE} needs npm, which is not installed",
            fix="apt-get install -y --no-install-recommends npm",
        )
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept) as scratch:
        _pack(npm, Path(scratch))
        for name, digest in names.items():
            file = Path(scratch) / "package" / "dist" / name
            _check(file, digest)
            file.replace(kept / name)
    return kept


def _pack(npm: str, scratch: Path) -> None:
    """Let npm fetch the package into a folder, and unpack what is used of it."""
    command = [npm, "pack", "--silent", PACKAGE]
    what = "npm did not fetch the runtime for browsers"
    failed = partial(StageError, what, where=" ".join(command))
    ran(command, failed, cwd=scratch)
    archives = list(scratch.glob("*.tgz"))
    if not archives:
        raise failed(found="exit code 0, no archive")
    wanted = {f"package/dist/{name}" for engine in FILES.values() for name in engine}
    with tarfile.open(archives[0]) as archive:
        members = [member for member in archive.getmembers() if member.name in wanted]
        archive.extractall(scratch, members=members, filter="data")


def _check(file: Path, digest: str) -> None:
    found = digest_of(file)
    if found != digest:
        raise IntegrityError(
            "not the file that was fetched",
            where=str(file),
            found=f"sha256 {found}",
            expected=f"sha256 {digest}",
            fix=f"delete {file.parent} and run {PREPARE}",
        )


if __name__ == "__main__":  # what `make prepare-browser` runs
    sys.stdout.write(f"{prepare()}\n")
