"""Takes a model that somebody else fitted, as it is: ``--fit none``.

It does not change its weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.backbone import sources as backbones
from edgetransfer.errors import DataError
from edgetransfer.graph.own import take
from edgetransfer.graph.prepare import preparer
from edgetransfer.pipeline.reporter import telling
from edgetransfer.pipeline.run import Run, code, leave, versions
from edgetransfer.pipeline.tracing import Fitted, proving_batch, trace_fitted
from edgetransfer.spec.preprocess import PREPROCESSING

if TYPE_CHECKING:
    from pathlib import Path

    from edgetransfer.backbone.model import FittedModel
    from edgetransfer.data.manifest import Manifest


def take_fitted(run: Run, manifest: Manifest) -> Fitted:
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
    if model.network is not None:
        return trace_fitted(run, manifest, model, model.network, key, facts)
    return _clean(run, manifest, model, key, facts)


def _clean(
    run: Run, manifest: Manifest, model: FittedModel, key: str, facts: dict[str, Any]
) -> Fitted:
    inputs = {"fit": key, "code": code("graph"), "versions": versions("onnx", "onnxscript")}
    prepare = preparer(model.preprocessing, model.tokenizer)
    with telling(run.reporter, "trace") as line:

        def make(folder: Path) -> None:
            joined = proving_batch(manifest, prepare)
            count = len(next(iter(joined.values())))
            batches = [{k: v[i : i + 1] for k, v in joined.items()} for i in range(count)]
            graph, proof = take(run.source.path, batches, len(model.labels))
            onnx.save(graph, folder / "float.onnx")
            leave(folder, "parity.json", proof)

        kept = run.keep(line, "trace", inputs, make)
        proof = kept.record("parity.json")
        line.summary = f"equal to the file given within {proof['max_abs']:.1e}"
    return Fitted(
        manifest,
        model.preprocessing,
        model.tokenizer,
        kept.file("float.onnx"),
        kept.key,
        {**facts, "export": proof},
    )
