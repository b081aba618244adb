"""Runs the shipped model on new pictures or texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgetransfer.agent.outputs import Outputs
from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.bundle.opened import open_bundle, refuse_other_outputs
from edgetransfer.data.inputs import asked_about
from edgetransfer.errors import DataError
from edgetransfer.graph.hosted import exact_here
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.task import task_of

if TYPE_CHECKING:
    from edgetransfer.data.inputs import Query


@dataclass(frozen=True)
class Prediction:
    """What the model says of one input, as its task has it: classes with their softmax shares.

    Attributes:
        input: the text, or the path of the picture.
        best: words and numbers, the best first; none where there is an error.
        where: the row or line that it stands in, where it came out of a file.
        error: why there is no answer.
    """

    input: str
    best: tuple[tuple[str, float], ...]
    where: str = ""
    error: str | None = None


class LoadedModel:
    """The shipped model of a bundle, opened once; IntegrityError of a bundle that was changed.

    Attributes:
        labels: the classes, in the order of the model's outputs.
        columns: what the words and the numbers of an answer are.
    """

    def __init__(self, folder: Path) -> None:
        self._bundle = bundle = open_bundle(folder)
        self.labels = bundle.labels
        self._task = task_of(bundle.recipe)
        self.columns = self._task.columns
        self._prepare = preparer(bundle.preprocessing, bundle.file("tokenizer.json"))
        self._session = OnnxSession(
            str(bundle.file("model.onnx")),
            threads=bundle.manifest["session"]["threads"],
            config={**exact_here(), **bundle.manifest["session"]["config"]},
        )

    def __repr__(self) -> str:
        """Return where it lies, and how many labels it has, in one line."""
        return f"<LoadedModel {self._bundle.folder}: {len(self.labels)} labels>"

    def predict(
        self,
        inputs: str | Path | Iterable[str | Path],
        *,
        text_column: str | None = None,
        file_column: str | None = None,
    ) -> list[Prediction]:
        """Classify pictures, or texts where the bundle is for texts; see `data.inputs.asked_about`.

        An input that cannot be read gets an error, and the others their answers.

        Args:
            inputs: one or several: pictures or folders of them, texts, tables, .txt files, or ``-``
                for lines of standard input.
            text_column: of tables.
            file_column: of tables.

        Raises:
            IntegrityError: the model gives other outputs than the bundle's labels call for.
        """
        given = [inputs] if isinstance(inputs, str | Path) else inputs
        columns = {"text_column": text_column, "file_column": file_column}
        kind = self._bundle.preprocessing.kind
        return [self._said(each) for each in asked_about(map(str, given), kind, **columns)]

    def _said(self, asked: Query) -> Prediction:
        if asked.example is None:
            return Prediction(asked.shown, (), asked.where, str(asked.problem))
        try:
            raw = self._prepare.raw(asked.example)
        except DataError as error:
            return Prediction(asked.shown, (), asked.where, str(error))
        given = self._session.run(raw)
        outputs = Outputs.of(self._session.output_names, [given])
        refuse_other_outputs(self._bundle, outputs.shapes)
        return Prediction(asked.shown, self._task.answer(outputs, self.labels), asked.where)
