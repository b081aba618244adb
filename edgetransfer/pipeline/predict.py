"""Runs the shipped model on new pictures or texts.

It does not measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.agent.session import OnnxSession
from edgetransfer.bundle.opened import open_bundle, refuse_other_count
from edgetransfer.data.manifest import Example
from edgetransfer.errors import DataError
from edgetransfer.graph.hosted import exact_here
from edgetransfer.graph.prepare import preparer

if TYPE_CHECKING:
    from collections.abc import Sequence

_BEST = 3


@dataclass(frozen=True)
class Prediction:
    """What the model says of one input: the best classes with their softmax shares."""

    input: str
    best: tuple[tuple[str, float], ...]


def predict(folder: Path, inputs: Sequence[str]) -> list[Prediction]:
    """Classify picture files, or texts where the bundle is for texts.

    Raises:
        IntegrityError: not a bundle, or a changed one.
        DataError: a picture cannot be read, or a text is empty.
    """
    bundle = open_bundle(folder)
    labels = bundle.labels
    prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
    session = OnnxSession(
        str(bundle.file("model.onnx")),
        threads=bundle.manifest["session"]["threads"],
        config={**exact_here(), **bundle.manifest["session"]["config"]},
    )
    picture = bundle.preprocessing.kind == "image"
    if not picture and not all(each.strip() for each in inputs):
        raise DataError("empty text", where="INPUT", expected="a word at least")
    found = []
    for each in inputs:
        path = Path(each) if picture else None
        example = Example(each, path, None if picture else each, None, "test", {}, "")
        logits = session.run(prepare.raw(example))[0][0].astype(np.float64)
        refuse_other_count(bundle, len(logits))
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        order = np.argsort(-shares)[:_BEST]
        found.append(Prediction(each, tuple((labels[i], float(shares[i])) for i in order)))
    return found
