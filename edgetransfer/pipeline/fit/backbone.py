"""The stages of a frozen backbone: it is opened, traced, and run over the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from edgetransfer.backbone import sources as backbones
from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.graph import census
from edgetransfer.graph.prepare import Preparer, preparer
from edgetransfer.pipeline.fit.trace import EXPORTERS, proving_batch, proving_examples, traced
from edgetransfer.pipeline.stage.reporter import telling
from edgetransfer.pipeline.stage.rows import over, rows_stage
from edgetransfer.pipeline.stage.stage import Stage
from edgetransfer.spec import tasks
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.looks import FEW, looks_over

if TYPE_CHECKING:
    from edgetransfer.backbone.model import Backbone
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.pipeline.stage.stage import StageResult
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
        kept = run.keep_in(line, Stage("backbone", inputs, make, _told_card, packages=EXPORTERS))
    return backbone, prepare, kept


def _told_card(card: Mapping[str, Any]) -> str:
    size = f"{card['parameters'] / 1e6:.2f} M parameters"
    return size + (f", {card['macs'] / 1e6:.0f} M MACs" if card["macs"] else "")


class OpenedBackbone:
    """A backbone with its traced feature graph."""

    def __init__(self, run: Run, manifest: Manifest) -> None:
        self.run = run
        self._features: StageResult | None = None
        self._looks: StageResult | None = None
        self.backbone, self.prepare, self.kept = open_frozen(run, manifest)
        source = {"source": run.source.name, "digest": run.source.digest}
        self.card: dict[str, Any] = {**source, **self.kept.record}

    def features(self, manifest: Manifest) -> StageResult:
        """Return the features of the training and validation examples; told of once."""
        if self._features is None:
            both = (*manifest.split("train"), *manifest.split("validation"))
            self._features = self.features_of(both)
        return self._features

    def features_of(self, examples: Sequence[Example]) -> StageResult:
        """Return the features of examples in their order: ``features.npy``, float32 [N, D]."""
        inputs = {"backbone": self.kept.key, "examples": content_of(examples)}
        run = over(self.graph, partial(run_over, prepare=self.prepare, examples=examples))
        return self.run.keep(rows_stage("features", inputs, "features.npy", run))

    def looks(self, manifest: Manifest) -> StageResult | None:
        """Return features of other looks at the pictures fitted on: ``looks.npy`` [L, N, D].

        None where there are more than a few examples a stratum, or texts.
        """
        examples, seed = manifest.fitted, self.run.recipe.seed
        rules = tasks.load(self.run.recipe.task).labels
        strata = set(rules.strata([each.label or "" for each in examples]))
        few = len(examples) <= FEW * len(strata)
        if not few or "views" not in manifest.input.offers:
            return None
        if self._looks is None:
            inputs = {"backbone": self.kept.key, "examples": content_of(examples), "seed": seed}
            look = partial(looks_over, prepare=self.prepare, examples=examples, seed=seed)
            run = over(self.graph, look)
            stage = rows_stage("probe-views", inputs, "looks.npy", run, _told_looks)
            self._looks = self.run.keep(stage, "probe views")
        return self._looks

    @property
    def graph(self) -> Path:
        """The frozen backbone, prepared inputs -> features."""
        return self.kept.file("features.onnx")


def _told_looks(record: Mapping[str, Any]) -> str:
    looks, examples, _ = record["shape"]
    return f"{looks} of each of {examples} training pictures"
