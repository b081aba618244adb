"""Folders that are for another task are called what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.folders import read_folder
from edgetransfer.data.locate import locate
from edgetransfer.errors import DataError
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize(
    ("shown", "others", "where", "found"),
    [
        (
            ["images/train/0.jpg", "images/val/1.jpg"],
            ["labels/train/0.txt", "labels/val/1.txt", "data.yaml"],
            "labels",
            "a folder labels beside a folder images, with .txt files (YOLO)",
        ),
        (
            ["train/images/0.jpg", "valid/images/1.jpg"],
            ["train/labels/0.txt"],
            "train/labels",
            "a folder labels beside a folder images, with .txt files (YOLO)",
        ),
        (
            ["JPEGImages/0.jpg"],
            ["Annotations/0.xml", "ImageSets/Main/train.txt"],
            "Annotations",
            "a folder Annotations with .xml files (Pascal VOC)",
        ),
        (
            ["train2017/0.jpg", "val2017/1.jpg"],
            ["annotations/instances_train2017.json"],
            "annotations",
            "instances_train2017.json (COCO)",
        ),
        (
            ["train/0.jpg"],
            ["train/_annotations.coco.json"],
            "train",
            "_annotations.coco.json (COCO)",
        ),
        (
            ["0.jpg", "1.jpg"],
            ["0.xml", "1.xml"],
            "",
            "a .xml file beside each picture (Pascal VOC)",
        ),
    ],
)
def test_c5_annotations_for_detection(
    tmp_path: Path,
    picture: Callable[..., Path],
    shown: list[str],
    others: list[str],
    where: str,
    found: str,
) -> None:
    """Fault C5: folders of detection became classes, or were told as empty ones."""
    for name in shown:
        picture(name, 1)
    for name in others:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    spec = DataSpec(source=str(tmp_path))
    with pytest.raises(DataError) as caught:
        read_folder(locate(spec.source), spec, CLASSES, labels_optional=False)
    assert str(caught.value) == (
        f"{tmp_path / where}: annotations for object detection, which is not supported yet\n"
        f"  found: {found}\n"
        "  expected: one class for each whole picture: one folder a class\n"
        "  fix: cut the objects out into pictures of their own, in one folder a class"
    )
