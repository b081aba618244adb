"""The stages of features: a frozen backbone is run over the examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgetransfer.data.manifest import Example, Manifest, content_of
from edgetransfer.pipeline.fit.frozen import open_frozen
from edgetransfer.pipeline.stage.rows import over, rows_stage
from edgetransfer.spec import tasks
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.looks import FEW, looks_over

if TYPE_CHECKING:
    from edgetransfer.pipeline.stage.run import Run
    from edgetransfer.pipeline.stage.stage import StageResult


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
