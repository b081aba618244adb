"""Runs the shipped model on new pictures or texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.agent.session import OnnxSession
from edgetransfer.bundle.opened import open_bundle, refuse_other_count
from edgetransfer.data.queries import Columns, asked_about
from edgetransfer.errors import DataError
from edgetransfer.graph.hosted import exact_here
from edgetransfer.graph.prepare import preparer

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_BEST = 3


@dataclass(frozen=True)
class Prediction:
    """What the model says of one input: the best classes with their softmax shares.

    Attributes:
        input: the text, or the path of the picture.
        best: classes and shares, the best first; none where there is an error.
        where: the row or line that it stands in, where it came out of a file.
        error: why there is no answer.
    """

    input: str
    best: tuple[tuple[str, float], ...]
    where: str = ""
    error: str | None = None


def predict(
    folder: Path, inputs: Iterable[str], columns: Columns | None = None
) -> list[Prediction]:
    """Classify pictures, or texts where the bundle is for texts; see `asked.asked_about`.

    An input that cannot be read gets an error, and the others their answers.

    Raises:
        IntegrityError: not a bundle, or a changed one.
    """
    bundle = open_bundle(folder)
    labels = bundle.labels
    prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
    session = OnnxSession(
        str(bundle.file("model.onnx")),
        threads=bundle.manifest["session"]["threads"],
        config={**exact_here(), **bundle.manifest["session"]["config"]},
    )
    found = []
    for asked in asked_about(inputs, bundle.preprocessing.kind, columns):
        if asked.example is None:
            found.append(Prediction(asked.shown, (), asked.where, str(asked.problem)))
            continue
        try:
            raw = prepare.raw(asked.example)
        except DataError as error:
            found.append(Prediction(asked.shown, (), asked.where, str(error)))
            continue
        logits = session.run(raw)[0][0].astype(np.float64)
        refuse_other_count(bundle, len(logits))
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        order = np.argsort(-shares)[:_BEST]
        best = tuple((labels[i], float(shares[i])) for i in order)
        found.append(Prediction(asked.shown, best, asked.where))
    return found
