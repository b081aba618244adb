"""Pictures of the domains that domain.py moves between: as they are, or changed."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageFilter

from edgetransfer.backbone import sources as backbones
from edgetransfer.data import sources
from edgetransfer.graph.prepare import PicturePreparer, ahead, preparer
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgetransfer.data.manifest import Example

Array = np.ndarray[Any, Any]

MADE: dict[str, Callable[[Image.Image], Image.Image]] = {
    "darkened": lambda picture: ImageEnhance.Brightness(picture).enhance(0.35),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(picture.width / 60)),
    "low contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(0.35),
}


@dataclass(frozen=True)
class Domain:
    """Pictures of one domain: prepared float32 [N, 3, h, w], features [N, D], classes int [N]."""

    prepared: Array
    features: Array
    truth: Array

    def part(self, rows: Array) -> Domain:
        """Return some of them."""
        return Domain(self.prepared[rows], self.features[rows], self.truth[rows])


@torch.no_grad()
def run(network: torch.nn.Module, prepared: Array) -> Array:
    """Run a network over prepared pictures."""
    parts = [
        network(torch.from_numpy(prepared[i : i + 64])).numpy() for i in range(0, len(prepared), 64)
    ]
    return np.concatenate(parts)


class Source:
    """A data set with a backbone; changed pictures are made as they are asked for."""

    def __init__(self, data: str, backbone: str) -> None:
        self.backbone = backbones.load(backbones.locate(backbone), "image")
        self.prepare = preparer(self.backbone.preprocessing, None)
        self.manifest = sources.load(DataSpec(source=data), CLASSES, seed=0)
        self.truth = self.manifest.label_index(self.manifest.examples)
        self.plain = self._domain(None)

    def changed(self, how: str) -> Domain:
        """Return the same pictures after a change."""
        return self._domain(MADE[how])

    def _domain(self, change: Callable[[Image.Image], Image.Image] | None) -> Domain:
        assert isinstance(self.prepare, PicturePreparer)
        with tempfile.TemporaryDirectory() as folder:
            examples = list(self.manifest.examples)
            if change is not None:
                examples = [_written(each, change, Path(folder)) for each in examples]
            made = ahead(self.prepare.prepare, examples)
            prepared = np.concatenate([next(iter(batch.values())) for batch in made])
        return Domain(prepared, run(self.backbone.network, prepared), self.truth)

    def column(self, name: str) -> Array:
        """Return a column of the table."""
        return np.array([example.metadata[name] for example in self.manifest.examples])


def _written(
    example: Example, change: Callable[[Image.Image], Image.Image], folder: Path
) -> Example:
    assert example.path is not None  # pictures only
    path = folder / f"{example.digest}.png"
    change(Image.open(example.path).convert("RGB")).save(path)
    return replace(example, path=path)
