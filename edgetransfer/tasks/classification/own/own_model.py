"""Takes a model that somebody else fitted, as it is: ``--fit none``.

A classifier in transformers layout that torch's exporter refuses is exported with optimum.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from edgetransfer.backbone import sources as backbones
from edgetransfer.errors import DataError, EdgeTransferError, MissingExtraError, StageError
from edgetransfer.pipeline.fit.trace import given_by, keep_graph, proven, traced
from edgetransfer.spec.preprocess import PREPROCESSING, Modality
from edgetransfer.tasks.classification.judge.metrics import LOGITS, changed_outputs
from edgetransfer.tasks.classification.own.own import refuse_no_answers, take

if TYPE_CHECKING:
    import onnx

    from edgetransfer.backbone.model import FittedModel, Source
    from edgetransfer.data.manifest import Manifest
    from edgetransfer.graph.prepare import Batch
    from edgetransfer.pipeline.graphs import FittedGraph
    from edgetransfer.pipeline.stage.run import Run

_OPSET = "18"
"""The oldest that devices are sent; optimum's patches know few newer ones."""
_LONGEST_S = 1800
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception): ")


def export(folder: Path, modality: Modality, into: Path) -> Path:
    """Write the whole classifier as ONNX, in a process of its own: optimum patches transformers.

    The folder has config.json, weights and whatever else transformers wants; the weights are in the
    ONNX file returned, or beside it. MissingExtraError without optimum's exporter, StageError where
    it cannot export the network either.
    """
    installed = False
    with suppress(ModuleNotFoundError):
        installed = find_spec("optimum.exporters.onnx") is not None
    if not installed:
        raise MissingExtraError("optimum-onnx", "optimum", purpose="exporting with optimum")
    task = f"{modality}-classification"
    asked = ["--model", str(folder), "--task", task, "--opset", _OPSET, str(into)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "optimum.exporters.onnx", *asked],
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"not done after {_LONGEST_S // 60} minutes"
    file = into / "model.onnx"
    if not file.is_file():
        raise StageError(
            "optimum could not export the network", where="trace", found=_reason(said)[:300]
        )
    return file


def _reason(said: str) -> str:
    """Return the line that names the exception, else the last."""
    lines = said.strip().splitlines() or ["nothing"]
    return next((line for line in reversed(lines) if _EXCEPTION.match(line)), lines[-1])


def take_fitted(run: Run, manifest: Manifest) -> FittedGraph:
    """Take somebody's fitted model as it is."""
    model = backbones.load_fitted(run.source, manifest.modality)
    unknown = sorted(set(manifest.labels) - set(model.labels))
    if unknown:
        raise DataError(
            "the data has classes that the model does not know",
            where=run.recipe.data.source,
            found=", ".join(unknown[:5]),
            expected=", ".join(model.labels[:10]) + (", ..." if len(model.labels) > 10 else ""),
        )
    manifest = replace(manifest, labels=model.labels)
    card = {
        "source": run.source.name,
        "digest": run.source.digest,
        "licence": model.licence,
        "preprocessing": PREPROCESSING.dump_python(model.preprocessing, mode="json"),
    }
    facts: dict[str, Any] = {"backbone": card, "fit": {"method": "none"}}
    key = f"{run.source.digest} {manifest.modality} fitted"

    def prove(joined: Batch) -> tuple[onnx.ModelProto, dict[str, Any]]:
        if model.network is None:
            return take(run.source.path, _one_by_one(joined), len(model.labels))
        said = given_by(model.network, (LOGITS,), joined)
        refuse_no_answers(said[LOGITS], run.source.asked)
        try:
            return traced(model.network, joined, (LOGITS,), changed_outputs)
        except StageError as refusal:
            return _by_optimum(run.source, manifest.modality, model, joined, refusal)

    return keep_graph(run, manifest, model, key, facts, prove)


def _one_by_one(joined: Batch) -> list[Batch]:
    count = len(next(iter(joined.values())))
    return [{k: v[i : i + 1] for k, v in joined.items()} for i in range(count)]


def _by_optimum(
    source: Source, modality: Modality, model: FittedModel, joined: Batch, refusal: StageError
) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Take what optimum exports, where it is installed and computes what the network does."""
    assert model.network is not None  # torch has refused it
    try:
        with TemporaryDirectory() as folder:
            file = export(source.path, modality, Path(folder))
            graph, _ = take(file, _one_by_one(joined), len(model.labels))
        proof = proven(model.network, graph, joined, changed_outputs)
    except MissingExtraError:
        raise refusal from None
    except EdgeTransferError as error:
        raise StageError(
            "neither torch nor optimum could export the network to ONNX",
            where=source.asked,
            found=f"{_in_a_line(refusal)}; {_in_a_line(error)}",
            fix="export it yourself and give the .onnx file with --backbone FILE --fit none",
        ) from error
    return graph, {**proof, "exporter": "optimum"}


def _in_a_line(error: EdgeTransferError) -> str:
    """Return what went wrong and what was found, without what to do."""
    return ", ".join(line.strip() for line in str(error).splitlines()[:2])
