"""Reads somebody's fitted ONNX file with its contract and labels."""

from __future__ import annotations

from pathlib import Path, PurePath

from edgetransfer.backbone.model import FittedModel, Modality, Source
from edgetransfer.bundle.files import weight_files
from edgetransfer.bundle.readers import read_contract, read_labels
from edgetransfer.errors import SpecError
from edgetransfer.graph.tokens import SETTINGS, keep_tokenizer, read_tokenizer
from edgetransfer.spec.outside import KIB, MIB, Kind

_CONTRACT = Kind("contract", 64 * KIB, SpecError, expected="see docs/own-model.md")
_LABELS = Kind(
    "list of labels", 16 * MIB, SpecError, expected="one class a line, in the order of the outputs"
)


def opened_with(path: Path) -> dict[str, Path]:
    """Return all files that are read with an ONNX file, by what names them: it, and its own folder.

    Those are the contract, the labels, the tokenizer that the contract names, and the files that
    hold tensors. Of a file that cannot be read only those that need no look into it: what is wrong
    is said when it is opened.
    """
    folder = path.parent
    named = {path.name, "preprocess.json", "labels.txt", "tokenizer.json", SETTINGS}
    named |= {file.name for file in folder.iterdir() if file.name.startswith(path.name)}
    try:
        contract = read_contract(folder / "preprocess.json", _CONTRACT)
        if contract.kind == "text":
            tokenizer = PurePath(contract.tokenizer or ".")
            named |= {str(tokenizer), str(tokenizer.parent / SETTINGS)}
    except SpecError:
        pass
    named |= weight_files(path)
    return {name: folder / name for name in named if (folder / name).is_file()}


def _refuse_hard_links(path: Path) -> None:
    """Refuse weights in a file that has another name elsewhere, as links out of the folder are."""
    for name in sorted(weight_files(path)):
        file = path.parent / name
        if file.is_file() and file.stat().st_nlink > 1:
            raise SpecError(
                "weights are read from a file that has other names too (hard links)",
                where=str(file),
                fix=f"make a copy of it: cp {name} x && mv x {name}",
            )


def load(source: Source, modality: Modality) -> FittedModel:
    """Read ``preprocess.json`` and ``labels.txt`` beside the file.

    SpecError where the contract is not valid or for the other modality, or a class has not one
    name.
    """
    _refuse_hard_links(source.path)
    folder = source.path.parent
    file = folder / "preprocess.json"
    preprocessing = read_contract(file, _CONTRACT)
    if preprocessing.kind != modality:
        raise SpecError(
            f"the contract is for {preprocessing.kind} and the examples are {modality}",
            where=str(file),
        )
    labels = read_labels(folder / "labels.txt", _LABELS)
    tokenizer: Path | None = None
    if preprocessing.kind == "text":
        tokenizer = folder / preprocessing.tokenizer
        if not tokenizer.is_file():
            raise SpecError("the contract names a tokenizer that is missing", where=str(tokenizer))
        tokenizer = keep_tokenizer(read_tokenizer(tokenizer), preprocessing.max_length)
    return FittedModel(None, labels, preprocessing, None, tokenizer)
