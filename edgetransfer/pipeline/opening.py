"""The feature stages: a frozen backbone is run over the examples.

It does not fit anything.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from edgetransfer.data.manifest import content_of
from edgetransfer.pipeline.frozen import open_frozen
from edgetransfer.pipeline.rows import over, rows_stage
from edgetransfer.transfer.features import run_over
from edgetransfer.transfer.looks import looks_over, worth_more_looks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgetransfer.data.manifest import Example, Manifest
    from edgetransfer.pipeline.run import Run
    from edgetransfer.pipeline.stage import Kept


class OpenedBackbone:
    """A backbone with its traced feature graph."""

    def __init__(self, run: Run, manifest: Manifest) -> None:
        self.run = run
        self._features: Kept | None = None
        self._looks: Kept | None = None
        self.backbone, self.prepare, self.kept = open_frozen(run, manifest)
        source = {"source": run.source.name, "digest": run.source.digest}
        self.card: dict[str, Any] = {**source, **self.kept.record}

    def features(self, manifest: Manifest) -> Kept:
        """Return the features of the training and validation examples; told of once."""
        if self._features is None:
            both = (*manifest.split("train"), *manifest.split("validation"))
            self._features = self.features_of(both)
        return self._features

    def features_of(self, examples: Sequence[Example]) -> Kept:
        """Return the features of examples in their order: ``features.npy``, float32 [N, D]."""
        inputs = {"backbone": self.kept.key, "examples": content_of(examples)}
        run = over(self._graph, partial(run_over, prepare=self.prepare, examples=examples))
        return self.run.keep(rows_stage("features", inputs, "features.npy", run))

    def looks(self, manifest: Manifest) -> Kept | None:
        """Return features of other looks at the pictures fitted on: ``looks.npy`` [L, N, D].

        None where there are more than a few examples a class, or texts.
        """
        examples, seed = manifest.fitted, self.run.recipe.seed
        if not worth_more_looks(manifest.modality, len(examples), len(manifest.labels)):
            return None
        if self._looks is None:
            inputs = {"backbone": self.kept.key, "examples": content_of(examples), "seed": seed}
            look = partial(looks_over, prepare=self.prepare, examples=examples, seed=seed)
            run = over(self._graph, look)
            stage = rows_stage("probe-looks", inputs, "looks.npy", run, _told_looks)
            self._looks = self.run.keep(stage, "probe looks")
        return self._looks

    @property
    def _graph(self) -> Path:
        return self.kept.file("features.onnx")


def _told_looks(record: Mapping[str, Any]) -> str:
    looks, examples, _ = record["shape"]
    return f"{looks} more at each of {examples} training pictures"
