"""Tiny ImageNet as arrays, and the looks at its pictures that teacher and student share."""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

if TYPE_CHECKING:
    from pathlib import Path

MEAN = STD = 0.5
SMALLEST, LARGEST = 0.6, 1.05
"""Sides of a look, as a share of the picture's."""
STRETCH, SHIFT = 0.12, 0.25


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures: values uint8 [N, 64, 64, 3] and labels int64 [N]."""

    values: np.ndarray
    labels: np.ndarray

    def of(self, classes: np.ndarray) -> Pictures:
        """Return the pictures of some classes, which are counted anew from 0 in that order."""
        place = np.full(int(self.labels.max()) + 1, -1)
        place[classes] = np.arange(len(classes))
        kept = np.flatnonzero(place[self.labels] >= 0)
        return Pictures(self.values[kept], place[self.labels[kept]])


def read_classes(data: Path) -> list[str]:
    """Return the identifiers of the classes, in the order of the labels."""
    with (data / "classes.csv").open() as rows:
        return [row["wnid"] for row in csv.DictReader(rows)]


def held_out(classes: int, count: int) -> np.ndarray:
    """Return `count` classes spread evenly over all; neighbours in WordNet stand side by side."""
    return np.linspace(0, classes, count, endpoint=False).astype(int)


def decode(archives: list[Path], classes: list[str], cache: Path) -> Pictures:
    """Decode tar archives of WNID/FILE.JPEG once into `cache`, and map the result."""
    labels_file, part = cache.with_suffix(".labels.npy"), cache.with_suffix(".part.npy")
    if not cache.exists():
        values, labels = [], []
        for archive in archives:
            with tarfile.open(archive) as members:
                for member in members:
                    stream = members.extractfile(member)
                    if stream is not None:
                        picture = Image.open(io.BytesIO(stream.read())).convert("RGB")
                        values.append(np.asarray(picture))
                        labels.append(classes.index(member.name.split("/")[0]))
        np.save(labels_file, np.array(labels))
        np.save(part, np.stack(values))
        part.replace(cache)
    return Pictures(np.load(cache, mmap_mode="r"), np.load(labels_file))


def normalise(values: np.ndarray) -> torch.Tensor:
    """Turn uint8 [N, H, W, 3] into float [N, 3, H, W] in -1..1, channels last in memory."""
    scaled = torch.from_numpy(np.array(values)).float().div_(255.0).sub_(MEAN).div_(STD)
    return scaled.permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Looks:
    """A fixed number of crops of every picture: what a teacher says of them can be kept.

    Teacher and student see the same crop (Beyer et al. 2022, "Knowledge distillation: A good
    teacher is patient and consistent", section 3.1).
    """

    count: int
    seed: int

    def theta(self, look: int, pictures: int) -> torch.Tensor:
        """Return the affine maps of one look at all pictures, float [N, 2, 3]."""
        drawn = np.random.default_rng([self.seed, look]).random((pictures, 5), dtype=np.float32)
        side = SMALLEST + (LARGEST - SMALLEST) * drawn[:, 0]
        stretch = np.exp(STRETCH * (2 * drawn[:, 1] - 1))
        theta = np.zeros((pictures, 2, 3), np.float32)
        theta[:, 0, 0] = side * stretch * np.where(drawn[:, 2] < 0.5, -1.0, 1.0)
        theta[:, 1, 1] = side / stretch
        theta[:, :, 2] = SHIFT * (2 * drawn[:, 3:] - 1)
        return torch.from_numpy(theta)


def look_at(x: torch.Tensor, theta: torch.Tensor, side: int) -> torch.Tensor:
    """Return one crop of each picture: [N, 3, H, W] -> [N, 3, side, side], channels last."""
    grid = functional.affine_grid(theta, [len(x), 3, side, side], align_corners=False)
    y = functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    return y.contiguous(memory_format=torch.channels_last)


def recolour(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Mirror half of the pictures, change contrast, brightness and saturation at random."""

    def draw(low: float, high: float) -> torch.Tensor:
        return (low + (high - low) * torch.rand(len(x), generator=generator))[:, None, None, None]

    contrast, brightness, saturation = draw(0.75, 1.25), draw(-0.2, 0.2), draw(0.6, 1.4)
    mirrored = torch.where(draw(0.0, 1.0) < 0.5, x.flip(3), x)
    grey = mirrored.mean(1, keepdim=True)
    changed = (grey + (mirrored - grey) * saturation) * contrast + brightness
    return changed.clamp_(-1.0, 1.0).contiguous(memory_format=torch.channels_last)
