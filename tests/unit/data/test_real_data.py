"""The data sets that the project is measured on load as their authors meant them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetransfer.data.sources import load
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

DATASETS = Path(__file__).parents[4] / "shared" / "datasets"

pytestmark = pytest.mark.skipif(not DATASETS.is_dir(), reason=f"no data sets at {DATASETS}")


@pytest.mark.parametrize(
    ("name", "sizes", "labels"),
    [
        ("hymenoptera", (195, 48, 153), 2),
        ("fsdd-spectrograms", (2160, 540, 300), 10),
        ("banking77", (7999, 1997, 3080), 77),
        ("afrisenti-pcm-swa", (5681, 1468, 4902), 3),
    ],
)
def test_sizes(name: str, sizes: tuple[int, int, int], labels: int) -> None:
    m = load(DataSpec(source=str(DATASETS / name)), CLASSES, seed=0)
    assert tuple(len(m.split(part)) for part in ("train", "validation", "test")) == sizes
    assert len(m.labels) == labels
    assert len({e.key for e in m.examples}) == len(m.examples)


def test_digits_are_in_order() -> None:
    m = load(
        DataSpec(source=str(DATASETS / "fsdd-spectrograms"), split_by="speaker"), CLASSES, seed=0
    )
    assert m.labels == tuple("0123456789")
    assert m.notes[-1] == (
        "6 of the 6 values of speaker in the test set also stand in train or validation: "
        "the test score does not tell how a new speaker fares"
    )
    assert len({e.metadata["speaker"] for e in m.split("validation")}) == 1


def test_the_known_leak_is_found() -> None:
    m = load(
        DataSpec(source=str(DATASETS / "afrisenti-pcm-swa"), group_by=("language",)),
        CLASSES,
        seed=0,
    )
    assert m.notes[1] == (
        "927 of 4,902 test examples also stand in train: 1,014 train examples that repeat them "
        "were dropped, test is unaltered"
    )
    assert m.dropped == {
        "duplicate of a test example": 1280,
        "duplicate of a validation example": 236,
    }
