"""Reads somebody's fitted ONNX file with its contract and labels.

It does not change the graph.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from edgetransfer.backbone.model import FittedModel, Modality, Source
from edgetransfer.errors import SpecError
from edgetransfer.graph.tokens import keep_tokenizer, read_tokenizer
from edgetransfer.spec.outside import explain
from edgetransfer.spec.preprocess import PREPROCESSING

if TYPE_CHECKING:
    from pathlib import Path


def load(source: Source, modality: Modality) -> FittedModel:
    """Read ``preprocess.json`` and ``labels.txt`` beside the file.

    Raises:
        SpecError: the contract is not valid, or is for the other modality, or the labels are not
            one name a class.
    """
    folder = source.path.parent
    file = folder / "preprocess.json"
    try:
        preprocessing = PREPROCESSING.validate_json(_text(file))
    except ValidationError as error:
        raise SpecError(explain(error), where=str(file)) from error
    if preprocessing.kind != modality:
        raise SpecError(
            f"the contract is for {preprocessing.kind} and the examples are {modality}",
            where=str(file),
        )
    labels = _labels(folder / "labels.txt")
    tokenizer: Path | None = None
    if preprocessing.kind == "text":
        tokenizer = folder / preprocessing.tokenizer
        if not tokenizer.is_file():
            raise SpecError("the contract names a tokenizer that is missing", where=str(tokenizer))
        tokenizer = keep_tokenizer(read_tokenizer(tokenizer), preprocessing.max_length)
    return FittedModel(None, labels, preprocessing, None, tokenizer)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SpecError("not UTF-8 text", where=str(file), found=str(error)) from error


def _labels(file: Path) -> tuple[str, ...]:
    labels = tuple(_text(file).rstrip("\r\n").splitlines())
    wrong = sorted({label for label in labels if labels.count(label) > 1 or not label.strip()})
    if wrong or not labels:
        raise SpecError(
            "not one name a class, each once",
            where=str(file),
            found=", ".join(map(repr, wrong[:5])) or "an empty file",
        )
    return labels
