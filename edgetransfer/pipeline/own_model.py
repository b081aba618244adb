"""Takes a model that somebody else fitted, as it is: ``--fit none``.

It does not change its weights.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgetransfer.backbone import sources as backbones
from edgetransfer.errors import DataError
from edgetransfer.graph.own import take
from edgetransfer.pipeline.soundness import untested
from edgetransfer.pipeline.tracing import Fitted, keep_graph, traced
from edgetransfer.spec.preprocess import PREPROCESSING

if TYPE_CHECKING:
    import onnx

    from edgetransfer.data.manifest import Manifest
    from edgetransfer.graph.prepare import Batch
    from edgetransfer.pipeline.run import Run


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
    facts: dict[str, Any] = {
        "backbone": card,
        "fit": {"method": "none"},
        "soundness": untested("the model came fitted, so that nothing was transferred here"),
    }
    key = f"{run.source.digest} {manifest.modality} fitted"

    def prove(joined: Batch) -> tuple[onnx.ModelProto, dict[str, Any]]:
        if model.network is not None:
            return traced(model.network, joined)
        count = len(next(iter(joined.values())))
        batches = [{k: v[i : i + 1] for k, v in joined.items()} for i in range(count)]
        return take(run.source.path, batches, len(model.labels))

    return keep_graph(run, manifest, model, key, facts, prove)
