"""The stage that opens a backbone and traces it frozen."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.backbone import sources as backbones
from edgetransfer.data.manifest import Manifest, content_of
from edgetransfer.graph import census
from edgetransfer.graph.prepare import Preparer, preparer
from edgetransfer.pipeline.fit.trace import EXPORTERS, proving_batch, proving_examples, traced
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.stage.stage import Stage, StageResult

if TYPE_CHECKING:
    from edgetransfer.backbone.model import Backbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.spec.progress import Progress


def open_frozen(run: Run, manifest: Manifest) -> tuple[Backbone, Preparer, StageResult]:
    """Open the backbone of a run; its graph is kept as ``features.onnx``, its card as the record.

    How it is opened is in the key, so that the keys of all that it is used for depend on it.
    """
    with telling(run.reporter, "backbone") as line:
        backbone = backbones.load(run.source, manifest.modality)
        prepare = preparer(backbone.preprocessing, backbone.tokenizer)

        def make(folder: Path, _: Progress) -> dict[str, Any]:
            graph, record = traced(backbone.network, proving_batch(manifest, prepare))
            onnx.save(graph, folder / "features.onnx")
            return {
                "licence": backbone.licence,
                "parameters": sum(p.numel() for p in backbone.network.parameters()),
                "macs": census.macs(graph),
                "feature_dim": backbone.feature_dim,
                "preprocessing": backbone.preprocessing.model_dump(mode="json"),
                "parity": record,
            }

        inputs = {
            "source": run.source.digest,
            "layout": run.source.layout,
            "modality": manifest.modality,
            "proven_on": content_of(proving_examples(manifest)),
        }
        kept = run.keep_in(line, Stage("backbone", inputs, make, _told, packages=EXPORTERS))
    return backbone, prepare, kept


def _told(card: Mapping[str, Any]) -> str:
    size = f"{card['parameters'] / 1e6:.2f} M parameters"
    return size + (f", {card['macs'] / 1e6:.0f} M MACs" if card["macs"] else "")
