"""What a large network says of every look at every picture, asked once and kept."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import numpy as np

from edgetransfer.agent.runtimes.onnxruntime import OnnxSession
from edgetransfer.backbone import sources
from edgetransfer.graph.trace import Signature, trace
from edgetransfer.spec.preprocess import ImagePreprocessing
from edgetransfer.tasks.classification.head.linear_heads import LogisticPath
from edgetransfer.tasks.classification.train.distill import TeacherLogits
from pretraining.pictures import MEAN, STD, look_at, normalise

if TYPE_CHECKING:
    from pathlib import Path

    from pretraining.pictures import Looks, Pictures

BATCH = 16
STRENGTH = 0.003
"""C of the teacher's head; 0.001 and 0.01 decided 5,000 held-out pictures no better."""
HEAD_ROWS = 50_000


class Teacher:
    """A backbone in ONNX Runtime, and where its answers are kept.

    Args:
        backbone: as `--backbone` takes it.
        side: of the pictures that it is shown, in pixels.
        folder: of the kept answers, float16.
    """

    def __init__(self, backbone: str, side: int, folder: Path) -> None:
        self.source = sources.locate(backbone)
        opened = sources.load(self.source, "image")
        contract = opened.preprocessing
        assert isinstance(contract, ImagePreprocessing)
        self._mean = np.array(contract.mean, np.float32)[:, None, None]
        self._std = np.array(contract.std, np.float32)[:, None, None]
        self._side, self._folder = side, folder
        self._folder.mkdir(parents=True, exist_ok=True)
        example = np.zeros((2, 3, side, side), np.float32)
        graph = trace(opened.network, [example], Signature(("x",), "features"))
        self._session = OnnxSession(graph.SerializeToString())

    def say(self, pictures: Pictures, looks: Looks) -> TeacherLogits:
        """Return features and logits of all looks; the head is fitted on the first look."""
        seen = [self._features(pictures, looks, look) for look in range(looks.count)]
        return TeacherLogits(
            [self._logits(pictures, seen, look) for look in range(looks.count)], seen
        )

    def _features(self, pictures: Pictures, looks: Looks, look: int) -> np.ndarray:
        file = self._folder / f"features-{look}.npy"
        if not file.exists():
            started, rows = time.monotonic(), []
            theta = looks.theta(look, len(pictures.labels))
            for start in range(0, len(pictures.labels), BATCH):
                chosen = slice(start, start + BATCH)
                shown = look_at(normalise(pictures.values[chosen]), theta[chosen], self._side)
                own = (shown.contiguous().numpy() * STD + MEAN - self._mean) / self._std
                rows.append(self._session.run({"x": own})[0].astype(np.float16))
            _keep(file, np.concatenate(rows))
            print(f"teacher, look {look}: {time.monotonic() - started:.0f} s", flush=True)
        kept: np.ndarray = np.load(file, mmap_mode="r")
        return kept

    def _logits(self, pictures: Pictures, seen: list[np.ndarray], look: int) -> np.ndarray:
        file = self._folder / f"logits-{look}.npy"
        if not file.exists():
            first = seen[0][:HEAD_ROWS].astype(np.float32)
            mean, scale = first.mean(axis=0), float(first.std())
            path = LogisticPath((first - mean) / scale)
            fitted = path.fit(np.arange(len(first)), pictures.labels[: len(first)], [STRENGTH])
            weight, bias = fitted[STRENGTH]
            for each, features in zip(itertools.count(), seen, strict=False):
                rows = (features.astype(np.float32) - mean) / scale @ weight.T + bias
                right = float((rows.argmax(axis=1) == pictures.labels).mean())
                print(f"teacher's head, look {each}: {right:.4f} of its pictures", flush=True)
                _keep(self._folder / f"logits-{each}.npy", rows.astype(np.float16))
        kept: np.ndarray = np.load(file, mmap_mode="r")
        return kept


def _keep(file: Path, values: np.ndarray) -> None:
    part = file.with_suffix(".part.npy")
    np.save(part, values)
    part.replace(file)
