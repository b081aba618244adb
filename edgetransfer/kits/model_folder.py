r"""Writes what one model needs in a kit: the folder ``model``, and the golden cases.

Every file is one that twenty lines of any language read: ``model.onnx``; ``labels.txt``, a name a
line; ``model.tsv``, a setting a line, name and value with a tab between; ``files.tsv``, a digest,
bytes and a name a line; for texts ``vocabulary.txt`` and ``characters.tsv``, see `kits.wordpiece`.
Lines end in ``\n`` and in nothing else.
"""

from __future__ import annotations

import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.bundle.files import digest_of
from edgetransfer.bundle.readers import read_description, read_golden
from edgetransfer.errors import SpecError, UnsupportedError
from edgetransfer.export.golden import CASES, OTHERS
from edgetransfer.export.tensorrt import PREPARE
from edgetransfer.kits.wordpiece import write_wordpiece
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.spec.tasks import CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgetransfer.bundle.opened import Bundle

CONTRACT = "1"
"""Of what lies in the folder. A kit reads a folder of its own number, and of no other."""
SETTINGS, LISTED = "model.tsv", "files.tsv"
_FEWEST_TOLERATED = 1e-4
_OF_RANGE = 1e-5
"""Floats are summed in another order by another version or processor: of an output's range."""


def refuse_unfit(bundle: Bundle) -> None:
    """Refuse a bundle that no kit runs: of another task, or from before golden cases for apps."""
    task = bundle.recipe.task
    if task != CLASSIFICATION:
        raise UnsupportedError(
            "kits run classification alone", where=str(bundle.folder), found=f"task {task}"
        )
    if not _golden(bundle).joinpath(CASES).is_file():
        raise UnsupportedError(
            f"the bundle has no golden/{CASES}: a version from before kits made it",
            where=str(bundle.folder),
            fix="build it again",
        )


def refuse_inside(bundle: Bundle, place: Path) -> None:
    """Refuse a place in the bundle itself, which would not open any more with other files in it."""
    if place.resolve().is_relative_to(bundle.folder.resolve()):
        raise SpecError(
            "lies in the bundle, in which no other files may be",
            where=str(place),
            fix="name a folder beside it",
        )


def _golden(bundle: Bundle) -> Path:
    return bundle.file("golden/index.json").parent


def write_model_folder(bundle: Bundle, folder: Path) -> None:
    """Write what the code of every kit reads; the list of files comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    preprocessing = bundle.preprocessing
    names = ["model.onnx", "labels.txt"]
    if _provider(bundle):
        names += ["core.onnx", PREPARE] if preprocessing.noun == "picture" else ["core.onnx"]
    for name in names:
        shutil.copyfile(bundle.file(name), folder / name)
    settings = _settings(bundle)
    if not isinstance(preprocessing, ImagePreprocessing):
        tokenizer = bundle.file(preprocessing.tokenizer)
        settings |= write_wordpiece(tokenizer, preprocessing.max_length, folder)
    lines = [f"{name}\t{value}\n" for name, value in settings.items()]
    (folder / SETTINGS).write_text("".join(lines), encoding="utf-8")
    list_files(folder)


def list_files(folder: Path) -> None:
    """Write the list of all files below a folder: SHA-256, bytes, name."""
    found = sorted(each for each in folder.rglob("*") if each.is_file() and each.name != LISTED)
    lines = [
        f"{digest_of(each)}\t{each.stat().st_size}\t{each.relative_to(folder).as_posix()}\n"
        for each in found
    ]
    (folder / LISTED).write_text("".join(lines), encoding="utf-8")


def _settings(bundle: Bundle) -> dict[str, str]:
    """Return what ``model.tsv`` says of every model."""
    said = read_description(bundle.file("model.onnx"))
    assert said is not None  # `refuse_unfit` let no older bundle through
    temperature, threshold = said.get("temperature", "1"), said.get("threshold", "0")
    preprocessing, (output,) = bundle.preprocessing, said["outputs"]
    exact, near = tolerances(bundle)
    config: Mapping[str, str] = bundle.manifest["session"]["config"]
    engines = {k: v for k, v in config.items() if k.startswith("tensorrt.")}
    sessions = {f"session.{k}": v for k, v in config.items() if k not in engines}
    return {
        "contract": CONTRACT,
        "made_by": f"edgetransfer {version('edgetransfer')}",
        "target": bundle.target.name,
        "task": bundle.recipe.task,
        "kind": preprocessing.noun,
        "inputs": ",".join(said["inputs"]),
        "output": output,
        "sha256": bundle.digest("model.onnx"),
        "temperature": temperature,
        "threshold": threshold,
        "tolerance": f"{exact:.6g}",
        "tolerance_elsewhere": f"{near:.6g}",
        **sessions,
        **({"provider": _provider(bundle), **engines} if _provider(bundle) else {}),
    }


def _provider(bundle: Bundle) -> str:
    """Return which TensorRT makes an engine of the network there, where one does."""
    runtime = bundle.target.runtime
    return runtime.provider if runtime is not None and runtime.builds_engines else ""


def tolerances(bundle: Bundle) -> tuple[float, float]:
    """Return how far an output of a golden case may be off.

    First where integers are computed as here, so that floats alone may differ; then on another
    kind of processor, which may add as much as quantising did, see `measure.agreement`.
    """
    cases = read_golden(bundle.file("golden/index.json"))
    core, reference = (np.array([[*case[side].values()] for case in cases]) for side in OTHERS)
    exact = max(_FEWEST_TOLERATED, _OF_RANGE * float(np.ptp(core)))
    return exact, max(10 * exact, float(np.abs(core - reference).max()))


def write_golden_cases(bundle: Bundle, folder: Path) -> None:
    """Copy the golden cases for apps: the list, and of pictures the file and the decoded bytes."""
    folder.mkdir(parents=True)
    source = _golden(bundle)
    kept = (".png", ".jpg", ".gif", ".picture.bin", CASES)
    for each in sorted(source.iterdir()):
        if each.name.endswith(kept):
            shutil.copyfile(each, folder / each.name)
