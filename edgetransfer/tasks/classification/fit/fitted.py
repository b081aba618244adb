"""A fitted network, as the stages of a fit hand it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgetransfer.data.manifest import Example
    from edgetransfer.pipeline.fit.backbone import OpenedBackbone
    from edgetransfer.pipeline.stage.stage import StageResult
    from edgetransfer.tasks.classification.train.classifier import Classifier


@dataclass(frozen=True)
class FittedNetwork:
    """A network with what is known of it.

    Attributes:
        kept: what the last stage that changed its weights left.
        record: how it was fitted, for the manifest.
        probe: what the stage left that fitted a head on the frozen backbone.
        labels: what the probe says of labels, for the manifest, see `labelling`.
    """

    opened: OpenedBackbone
    network: Classifier
    kept: StageResult
    record: dict[str, Any]
    probe: StageResult
    labels: dict[str, Any] | None = None
    unlabelled: tuple[Example, ...] = ()

    @property
    def frozen(self) -> bool:
        """Whether the backbone is as it came, with a linear head that was fitted on it."""
        return self.kept is self.probe
