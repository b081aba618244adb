"""Rows of tables become records, and every bad row is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.locate import locate
from edgetransfer.data.rows import read_tables
from edgetransfer.errors import DataError
from edgetransfer.spec.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgetransfer.data.reading import Reading


def read(source: Path, *, labels_optional: bool = False, **given) -> Reading:
    spec = DataSpec(source=str(source), **given)
    return read_tables(locate(spec.source), spec, labels_optional=labels_optional)


def test_texts(table: Callable[..., Path]) -> None:
    path = table("a.csv", "text,label,split,who", [(" Hi ", " x ", "Training", "me")])
    (record,) = read(path).records
    assert (record.key, record.where) == ("row 2", "a.csv row 2")
    assert (record.text, record.label, record.split) == (" Hi ", "x", "train")
    assert record.metadata == {"who": "me"}


@pytest.mark.parametrize(
    ("cell", "split"),
    [
        ("train", "train"),
        ("TRAINING", "train"),
        ("val", "validation"),
        ("valid", "validation"),
        ("Validation", "validation"),
        ("dev", "validation"),
        (" test ", "test"),
    ],
)
def test_names_of_splits(table: Callable[..., Path], cell: str, split: str) -> None:
    path = table("a.csv", "text,label,split", [("a", "x", cell)])
    assert [r.split for r in read(path).records] == [split]


def test_tables_of_splits(tmp_path: Path, table: Callable[..., Path]) -> None:
    table("train.csv", "text,label,split", [("a", "x", "test")])
    table("test.tsv", "sentence\tintent".replace("\t", ","), [("b", "y")])
    reading = read(tmp_path)
    assert [(r.key, r.split, r.label) for r in reading.records] == [
        ("train.csv row 2", "train", "x"),
        ("test.tsv row 2", "test", "y"),
    ]
    assert reading.records[0].metadata == {"split": "test"}
    assert [t.name for t in reading.tables] == ["train.csv", "test.tsv"]


def test_pictures_beside_the_table_or_in_images(
    tmp_path: Path, table: Callable[..., Path], picture: Callable[..., Path]
) -> None:
    picture("images/a.png", 1)
    picture("b.png", 2)
    picture("images/b.png", 3)
    rows = [("a.png", "x"), ("./b.png", "x"), ("images/b.png", "y"), ("../o.png", "y")]
    picture("../o.png", 4)
    reading = read(table("metadata.csv", "file,label", rows))
    assert [r.key for r in reading.records] == [
        "images/a.png",
        "b.png",
        "images/b.png",
        "../o.png",
    ]
    assert reading.modality == "image"
    assert reading.records[0].path == tmp_path / "images" / "a.png"


def test_every_bad_row_is_named(table: Callable[..., Path], picture: Callable[..., Path]) -> None:
    picture("a.png", 1)
    picture("a.txt", 1)
    rows = [
        ("a.png", "x", "train", "me"),
        ("", "x", "train", "me"),
        ("b.png", "", "train", "me"),
        ("a.txt", "x", "trian", ""),
        ("./a.png", "y", "", "me"),
        ("./a.png", "x", "test", "me"),
        ("a.png", "x", "test", "me", "more"),
    ]
    reading = read(table("m.csv", "file,label,split,who", rows), split_by="who")
    assert len(reading.records) == 1
    assert reading.problems == (
        "m.csv row 8: 5 cells, but the header has 4",
        "m.csv row 3: empty file",
        "m.csv row 4: the file b.png does not exist",
        "m.csv row 4: empty label",
        "m.csv row 5: the file a.txt is no picture (by its extension)",
        "m.csv row 5: unknown split 'trian' (known: train, val, test and the like)",
        "m.csv row 5: empty who",
        "m.csv row 6: empty split",
        "m.csv row 7: a.png stands in m.csv row 2 already",
    )


def test_white_space_is_no_text(table: Callable[..., Path]) -> None:
    reading = read(table("a.csv", "Text,label", [(" \u00a0\t", "x"), ("a", "x")]))
    assert reading.problems == ("a.csv row 2: empty Text",)


def test_labels_may_be_missing_when_judging(table: Callable[..., Path]) -> None:
    path = table("a.csv", "text,label", [("a", "x"), ("b", "")])
    reading = read(path, labels_optional=True)
    assert [r.label for r in reading.records] == ["x", None]
    assert reading.notes == ("1 row without a label",)
    reading = read(table("b.csv", "text,other", [("a", "x")]), labels_optional=True)
    assert [r.label for r in reading.records] == [None]


def test_pictures_and_texts_do_not_mix(
    tmp_path: Path, table: Callable[..., Path], picture: Callable[..., Path]
) -> None:
    picture("a.png", 1)
    table("train.csv", "file,label", [("a.png", "x")])
    table("test.csv", "text,label", [("a", "x")])
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: one table is about pictures and another about texts\n"
        "  found: pictures in train.csv, texts in test.csv"
    )


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([f"{i / 7:.3f}" for i in range(10)], "10 different numbers in 10 rows"),
        (["[1, 2]", "[3]"], "lists such as [1, 2]"),
        (['{"bbox": [1, 2, 3, 4]}'], 'lists such as {"bbox": [1, 2, 3, 4]}'),
    ],
)
def test_other_tasks(table: Callable[..., Path], labels: list[str], found: str) -> None:
    path = table("a.csv", "text,label", [("a", label) for label in labels])
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: the column label does not hold classes\n  found: {found}\n"
        "  expected: one of a few class names in each row\n"
        "  fix: this software fits classifiers only: no regression, detection or several labels"
    )


@pytest.mark.parametrize("labels", [["1.0", "2.0"] * 4, [str(i) for i in range(8)]])
def test_numbers_can_be_classes(table: Callable[..., Path], labels: list[str]) -> None:
    path = table("a.csv", "text,label", [("a", label) for label in labels])
    assert len(read(path).records) == 8


def test_pictures_inside_cells(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = [{"bytes": b"\x89PNG", "path": "a.png"}]
    path = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"image": image, "label": [0]}), path)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: the column image holds pictures, not names of files\n"
        "  expected: the path of a picture in each row\n"
        "  fix: save the pictures as files and name them in the table"
    )
