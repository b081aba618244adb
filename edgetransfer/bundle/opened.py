"""Opens a bundle and checks that every file is what the manifest says.

It does not judge the artefact: `measure` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle.files import digest_of, digests_below, write_json
from edgetransfer.bundle.reading import (
    LABELS,
    read_contract,
    read_digests,
    read_labels,
    read_manifest,
)
from edgetransfer.errors import IntegrityError, SpecError
from edgetransfer.spec import catalogue
from edgetransfer.spec.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
    from edgetransfer.spec.target import TargetSpec

SCHEMA = "edgetransfer.bundle/1"
MANIFEST = "manifest.json"
FITTED_ON = "fitted_on.txt"
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
        return read_labels(self.file("labels.txt"))

    @property
    def preprocessing(self) -> ImagePreprocessing | TextPreprocessing:
        """The contract between a picture or text and the network."""
        return read_contract(self.file("preprocess.json"))

    @property
    def fitted_on(self) -> set[str]:
        """Digests of the examples that the model was fitted or chosen on."""
        return read_digests(self.file(FITTED_ON))

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""
        return Recipe.model_validate(self.manifest["recipe"])

    @property
    def target(self) -> TargetSpec:
        """What it was built for."""
        return catalogue.remembered(self.manifest["target"])


def refuse_other_count(bundle: Bundle, logits: int) -> None:
    """Refuse a list of labels that is not as long as the model has outputs.

    Raises:
        IntegrityError: it is longer or shorter.
    """
    if len(bundle.labels) != logits:
        raise LABELS.fault(
            "not as many labels as the model has outputs",
            bundle.file("labels.txt"),
            f"{len(bundle.labels)} labels, {logits} outputs",
        )


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
    manifest = read_manifest(folder / MANIFEST)
    wrong = []
    for name, expected in manifest["files"].items():
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
