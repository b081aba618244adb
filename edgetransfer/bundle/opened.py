"""Opens a bundle and checks that every file is what the manifest says.

It does not judge the artefact: `measure` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import digest_of, digests_below, read_json, write_json
from edgetransfer.errors import IntegrityError, SpecError
from edgetransfer.spec.preprocess import PREPROCESSING, ImagePreprocessing, TextPreprocessing

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = "edgetransfer.bundle/1"
MANIFEST = "manifest.json"
UNSEALED = frozenset({MANIFEST, "report.json", "report.html", "portability.json"})
"""Files that are written again when the bundle is measured again."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, checked."""

    folder: Path
    manifest: dict[str, Any]

    def file(self, name: str) -> Path:
        """Return the path of one of its files."""
        return self.folder / name

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        text = self.file("labels.txt").read_text(encoding="utf-8")
        return tuple(text.removesuffix("\n").split("\n"))  # splitlines also cuts at U+2028 and such

    @property
    def preprocessing(self) -> ImagePreprocessing | TextPreprocessing:
        """The contract between a picture or text and the network."""
        contract = self.file("preprocess.json").read_text(encoding="utf-8")
        return PREPROCESSING.validate_json(contract)


def seal(folder: Path, facts: dict[str, Any]) -> None:
    """Write the manifest: `facts` and the digest of every file that does not change any more."""
    files = {name: sha for name, sha in digests_below(folder).items() if name not in UNSEALED}
    write_json(folder / MANIFEST, {"schema": SCHEMA, **facts, "files": files})


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle.

    Raises:
        SpecError: it is not a bundle.
        IntegrityError: files are missing or changed; all are named.
    """
    if not (folder / MANIFEST).is_file():
        inside = sorted(folder.glob(f"*/{MANIFEST}"))
        raise SpecError(
            "not a bundle",
            where=str(folder),
            found="no manifest.json" if folder.is_dir() else "no such folder",
            expected="a folder that `edgetransfer build` wrote: OUT/TARGET",
            fix=f"did you mean {inside[0].parent}?" if inside else None,
        )
    manifest = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise IntegrityError(
            "a manifest of another kind",
            where=str(folder / MANIFEST),
            found=repr(manifest.get("schema") if isinstance(manifest, dict) else manifest)[:80],
            expected=repr(SCHEMA),
        )
    files = manifest.get("files")
    if not isinstance(files, dict):
        raise IntegrityError("the manifest does not list the files", where=str(folder / MANIFEST))
    wrong = []
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif digest_of(path) != expected:
            wrong.append(f"{name} was changed")
    if wrong:
        raise IntegrityError(
            "; ".join(wrong), where=str(folder), fix="build it again, or copy the bundle again"
        )
    return Bundle(folder, manifest)
