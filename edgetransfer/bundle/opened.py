"""Opens a bundle and checks that every file is what the manifest says."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.bundle import readers
from edgetransfer.bundle.files import (
    canonical_json,
    digest_of,
    digest_of_value,
    weight_files,
    write_json,
)
from edgetransfer.errors import IntegrityError, SpecError
from edgetransfer.measure.measurement import fits
from edgetransfer.spec import catalogue, tasks
from edgetransfer.spec.outside import json_of, printable
from edgetransfer.spec.recipe import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgetransfer.spec.preprocess import ImagePreprocessing, TextPreprocessing
    from edgetransfer.spec.target import TargetSpec

SCHEMA = "edgetransfer.bundle/1"
MANIFEST, REPORT = "manifest.json", "report.json"
LABELS, FITTED_ON = "labels.txt", "fitted_on.txt"
REWRITTEN = frozenset({MANIFEST, REPORT, "report.html", "portability.json"})
"""Files that are written again when the bundle is measured again."""
MEASURE = "measure"
"""Where that lies which a bundle has to be measured, and an app does not need."""
LITERT_FILE = "litert/model.tflite"
"""The network for LiteRT, where it was asked for."""
BENCH = "bench"
"""Where measurements go: what lies there is nothing that the bundle ships."""
_LARGEST = 1 << 32
"""Bytes of a file of a bundle: ONNX goes up to half of it. More is not read for its digest."""
NEEDED = ("model.onnx", "core.onnx", "reference.onnx", LABELS, "preprocess.json")
STORED_AS = "stored_as"
"""Of the manifest: which file stands for one that has the same bytes, and is not stored twice."""
SEAL = "seal"
"""Of the manifest: the digest of the rest of it."""
UNSEALED = (
    "the bundle carries no seal: a version from before seals made it, or it was taken off; nothing "
    "says that these files are what was built"
)
OF_BUNDLE, DIGEST = "bundle", "digest"
"""Of a report: the seal of the manifest that was judged, and the digest of the rest of it."""
_OF_SYSTEMS = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
"""What file managers leave in every folder that is looked at."""


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, checked."""

    folder: Path
    manifest: dict[str, Any]

    def file(self, name: str) -> Path:
        """Return the path of one of its files; several names may be of one, see `stored_as`."""
        return self.folder / stored_as(self.manifest, name)

    def digest(self, name: str) -> str:
        """Return the SHA-256 of one of its files, as the manifest has it."""
        found: str = self.manifest["files"][stored_as(self.manifest, name)]
        return found

    @property
    def unsealed(self) -> str:
        """Why nothing vouches for the files, empty where a seal does."""
        return "" if self.manifest.get(SEAL) else UNSEALED

    @property
    def labels(self) -> tuple[str, ...]:
        """The lines of ``labels.txt``: of classes, in the order of the outputs."""
        return readers.read_labels(self.file(LABELS))

    @property
    def preprocessing(self) -> ImagePreprocessing | TextPreprocessing:
        """The contract between a picture or text and the network."""
        return readers.read_contract(self.file("preprocess.json"))

    @property
    def fitted_on(self) -> set[str]:
        """Digests of the examples that the model was fitted or chosen on."""
        return readers.read_digests(self.file(FITTED_ON))

    @property
    def recipe(self) -> Recipe:
        """What was asked for."""
        return Recipe.model_validate(self.manifest["recipe"])

    @property
    def target(self) -> TargetSpec:
        """What it was built for."""
        return catalogue.remembered(self.manifest["target"])


def stored_as(manifest: Mapping[str, Any], name: str) -> str:
    """Return where the bytes of a file of a bundle lie, in it.

    Where the network alone is what ships, or floats are shipped as they are, `STORED_AS` of the
    manifest says which file stands for ``core.onnx`` and ``reference.onnx``. What measures lies in
    `MEASURE`; in bundles of before, and where it is what ships, beside ``model.onnx``.
    """
    found: str = manifest.get(STORED_AS, {}).get(name, name)
    apart = f"{MEASURE}/{found}"
    return apart if apart in manifest.get("files", ()) else found


def refuse_other_outputs(bundle: Bundle, found: Mapping[str, tuple[int, ...]]) -> None:
    """Raise an IntegrityError for labels that do not go with the outputs that a model gives.

    These are told by what one example has of each.
    """
    if fits(tasks.load(bundle.recipe.task).outputs(bundle.labels), found):
        return
    shapes = ", ".join(f"{name} {list(shape)}" for name, shape in found.items())
    only = [shape[0] for shape in found.values() if len(shape) == 1 == len(found)]
    raise readers.LABELS.fault(
        "not as many labels as the model has outputs",
        bundle.file(LABELS),
        f"{len(bundle.labels)} labels, {only[0] if only else shapes} outputs",
    )


def seal(folder: Path, facts: Mapping[str, Any], beside: Sequence[str] = ()) -> Bundle:
    """Write the manifest: facts, the digest of every file that ships, and a digest of all that.

    A build goes: assemble (which seals) -> measure -> judge -> `add_facts` with what only the
    measurement knows (the accuracy on its own test set, say) -> `seal_report`. What the manifest
    says is fixed from there on: the report carries the manifest's ``seal``.
    """
    free = {*REWRITTEN, *beside}
    files = {
        name: digest_of(path)
        for name, path in sorted(walked(folder).items())
        if name not in free and not _is_measured(name)
    }
    more = {"beside": list(beside)} if beside else {}
    return _sealed(folder, {"schema": SCHEMA, **facts, **more, "files": files})


def add_facts(bundle: Bundle, facts: Mapping[str, Any], *files: str) -> Bundle:
    """Add what is known only once the bundle was measured and judged to the manifest; return it.

    Files are those that were written since. Call it before `seal_report`: a report is of one
    manifest.
    """
    listed = bundle.manifest["files"] | {name: digest_of(bundle.folder / name) for name in files}
    return _sealed(bundle.folder, {**bundle.manifest, **facts, "files": listed})


def _sealed(folder: Path, manifest: Mapping[str, Any]) -> Bundle:
    plain = json.loads(canonical_json({k: v for k, v in manifest.items() if k != SEAL}))
    whole = {key: plain[key] for key in manifest if key != SEAL}  # in the order of who wrote it
    whole[SEAL] = digest_of_value(whole)
    write_json(folder / MANIFEST, whole)
    return Bundle(folder, whole)


def seal_report(report: dict[str, Any], bundle: Bundle) -> None:
    """Note in a report which manifest it is of, and the digest of the rest of the report.

    ``bundle`` is the manifest's ``seal``; ``digest`` is that of the report without ``digest``.
    A signature, once there is one, signs this digest: it stands for all that was judged.
    """
    report.pop(DIGEST, None)
    if not bundle.unsealed:
        report[OF_BUNDLE] = bundle.manifest[SEAL]
    report[DIGEST] = digest_of_value(json.loads(canonical_json(report)))


def open_bundle(folder: Path) -> Bundle:
    """Read a bundle: its manifest, and whether all else is what the manifest says.

    One from before seals is opened too, see `Bundle.unsealed`; not where its report is of a seal.

    SpecError where it is not a bundle; the IntegrityError names all files that are missing, changed
    or not listed, links, or read from elsewhere, and a manifest or report that was edited.
    """
    if not (folder / MANIFEST).is_file():
        inside = sorted(folder.glob(f"*/{MANIFEST}"))
        there = "a file" if os.path.lexists(folder) else "no such folder"
        raise SpecError(
            "not a bundle",
            where=str(folder),
            found=f"no {MANIFEST}" if folder.is_dir() else there,
            expected="a folder that `edgetransfer build` wrote: OUT/TARGET",
            fix=f"did you mean {inside[0].parent}?" if inside else None,
        )
    manifest = readers.read_manifest(folder / MANIFEST)
    files: Mapping[str, str] = manifest["files"]
    needed = {name: stored_as(manifest, name) for name in NEEDED}
    wrong = [f"{name} is not listed" for name, stored in needed.items() if stored not in files]
    wrong += _strange(folder, files, frozenset(manifest.get("beside", ())))
    sealed = manifest.get(SEAL)
    if sealed and sealed != digest_of_value({k: v for k, v in manifest.items() if k != SEAL}):
        wrong.insert(0, f"{MANIFEST} was edited: it is not what its seal was taken of")
    if not wrong:
        models = (name for name in files if name.endswith(".onnx"))
        wrong = [f"{m} keeps weights in other files" for m in models if weight_files(folder / m)]
        wrong += _edited(folder, manifest)
        said = readers.read_description(folder / "model.onnx") or {}
        told = said.get("labels")
        if told is not None and tuple(told) != readers.read_labels(folder / LABELS):
            wrong.append(f"{LABELS} does not name the labels that model.onnx tells of")
    if wrong:
        raise IntegrityError(
            printable("; ".join(wrong)),
            where=str(folder),
            fix="build it again, or copy the bundle again",
        )
    return Bundle(folder, manifest)


def walked(folder: Path) -> dict[str, Path]:
    """Return all that lies below a folder, but for folders, by its name; no link is followed."""
    found: dict[str, Path] = {}
    for at, folders, names in os.walk(folder):
        links = [each for each in folders if Path(at, each).is_symlink()]
        for name in (*names, *links):
            path = Path(at, name)
            found[path.relative_to(folder).as_posix()] = path
    return found


def _is_measured(name: str) -> bool:
    return name.partition("/")[0] == BENCH or name.rpartition("/")[2] in _OF_SYSTEMS


def _strange(folder: Path, files: Mapping[str, str], beside: frozenset[str]) -> list[str]:
    """Name what is missing, changed, not listed, or no file at all."""
    found = walked(folder)
    wrong = [f"{name} is missing" for name in files if name not in found]
    for name, path in found.items():
        if name in beside and not (name in REWRITTEN or _is_measured(name) or name in files):
            continue
        if path.is_symlink():
            wrong.append(f"{name} is a link")
        elif not path.is_file():
            wrong.append(f"{name} is no file")
        elif name in files:
            if path.stat().st_size > _LARGEST or digest_of(path) != files[name]:
                wrong.append(f"{name} was changed")
        elif name not in REWRITTEN and not _is_measured(name):
            wrong.append(f"{name} is not listed")
    return sorted(wrong)


def _edited(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Name a report that is not of this manifest, or not as it was written."""
    if not (folder / REPORT).is_file():
        return []
    report = json_of(folder / REPORT, readers.REPORT)
    if not manifest.get(SEAL):
        taken = isinstance(report, dict) and OF_BUNDLE in report
        return [f"the seal of {MANIFEST} was taken off: {REPORT} is of one"] if taken else []
    if not isinstance(report, dict) or DIGEST not in report:
        return [f"{REPORT} carries no digest: it was edited, or made by an older version"]
    given = {key: value for key, value in report.items() if key != DIGEST}
    if report[DIGEST] != digest_of_value(given):
        return [f"{REPORT} was edited: it is not what its digest was taken of"]
    if report.get(OF_BUNDLE) != manifest.get(SEAL):
        return [f"{MANIFEST} is not the one that {REPORT} judged"]
    return []
