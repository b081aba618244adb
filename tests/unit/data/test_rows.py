"""Rows of tables become records, and every bad row is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.locate import locate
from edgetransfer.data.rows import read_tables
from edgetransfer.errors import DataError
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgetransfer.data.manifest import RawData


def read(source: Path, *, labels_optional: bool = False, **given) -> RawData:
    spec = DataSpec(source=str(source), **given)
    return read_tables(locate(spec.source), spec, CLASSES, labels_optional=labels_optional)


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


MISSING = ["nan", "NaN", "<NA>", "NA", "null", "None", "#N/A", "N/A", "#REF!"]


@pytest.mark.parametrize("cell", MISSING)
def test_c5_what_stands_for_a_missing_label(table: Callable[..., Path], cell: str) -> None:
    """Fault C5: it became a class."""
    path = table("a.csv", "text,label", [("a", "x"), ("b", cell), ("c", "y")])
    reading = read(path)
    assert [record.label for record in reading.records] == ["x", "y"]
    assert reading.problems == (
        f"a.csv row 3: label {cell!r}, which stands for a missing one; leave the row out, or give "
        "the class another name",
    )


@pytest.mark.parametrize("cell", ["nano", "no", "none of these", "national", "0"])
def test_classes_that_are_like_it(table: Callable[..., Path], cell: str) -> None:
    reading = read(table("a.csv", "text,label", [("a", "x"), ("b", cell)]))
    assert reading.problems == ()


@pytest.mark.parametrize(
    ("labels", "shown"),
    [
        (["bee", "flower", "bee;flower", "bee"], "bee;flower"),
        (["bee|leaf", "bee|flower", "tree"], "bee|leaf"),
        (["cat", "dog", "cat, dog", "bird"], "cat, dog"),
        (["a;b;c", "a;c", "b"], "a;b;c"),
    ],
)
def test_c5_several_labels_in_a_cell(
    table: Callable[..., Path], labels: list[str], shown: str
) -> None:
    """Fault C5: each combination became a class."""
    path = table("a.csv", "text,label", [(f"text {i}", each) for i, each in enumerate(labels)])
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: the column label does not hold classes\n"
        f"  found: several labels in one cell, such as {shown}\n"
        "  expected: one of a few class names in each row\n"
        "  fix: this software fits classifiers only: no regression, detection or several labels"
    )


@pytest.mark.parametrize(
    "labels",
    [
        ["Paris, Texas", "Austin, Texas", "Rome"],
        ["rock & roll", "rock"],
        ["yes; surely", "no; never"],
        ["[A]", "[B]"],
    ],
)
def test_classes_with_marks_in_their_names(table: Callable[..., Path], labels: list[str]) -> None:
    reading = read(table("a.csv", "text,label", [(f"t {i}", n) for i, n in enumerate(labels)]))
    assert [record.label for record in reading.records] == labels


def test_c5_measurements_with_commas_are_no_classes(tmp_path: Path) -> None:
    """Fault C5: "0,25" of a European spreadsheet."""
    rows = "".join(f"text {i};{i},25\n" for i in range(20))
    (tmp_path / "a.csv").write_text(f"text;label\n{rows}")
    with pytest.raises(DataError, match="20 different numbers in 20 rows"):
        read(tmp_path / "a.csv")


def test_c5_a_table_of_a_sensor(table: Callable[..., Path]) -> None:
    """Fault C5: it was told that no column holds pictures or texts."""
    rows = [(f"{i / 100:.2f}", f"{i % 7 - 3.5}", "-1e-3", "walk") for i in range(30)]
    path = table("a.csv", "time,x,y,label", rows)
    with pytest.raises(DataError) as caught:
        read(path)
    assert str(caught.value) == (
        f"{path}: the table holds measurements, which are not supported yet\n"
        "  found: numbers in 3 of the columns time, x, y, label\n"
        "  expected: a column of files or of texts, named file, image, path, filename, file_name, "
        "text or sentence\n"
        "  fix: draw each example (a window of a signal) as a picture, in one folder a class"
    )


def test_c5_a_table_of_recordings(tmp_path: Path, table: Callable[..., Path]) -> None:
    (tmp_path / "a.wav").write_bytes(b"")
    reading = read(table("m.csv", "file,label", [("a.wav", "x")]))
    assert reading.problems == (
        "m.csv row 2: the file a.wav: recordings of sound are not supported yet",
    )


def test_d6_blank_rows(tmp_path: Path) -> None:
    """Fault D6: Excel leaves rows of nothing but commas behind."""
    (tmp_path / "a.csv").write_text("text,label\none,a\n,\n ,\ntwo,b\n")
    reading = read(tmp_path / "a.csv")
    assert [record.where for record in reading.records] == ["a.csv row 2", "a.csv row 5"]
    assert (reading.problems, reading.notes) == ((), ("2 blank rows left out",))


def test_d6_paths_of_windows(
    tmp_path: Path, table: Callable[..., Path], picture: Callable[..., Path]
) -> None:
    """Fault D6: they named no file."""
    picture("p/bees/0.png", 1)
    rows = [("p\\bees\\0.png", "bees"), ("C:\\me\\1.png", "bees")]
    reading = read(table("m.csv", "file,label", rows))
    assert [record.key for record in reading.records] == ["p/bees/0.png"]
    assert reading.problems == (
        "m.csv row 3: the file C:\\me\\1.png does not exist (a path of another machine, with "
        "Windows)",
    )


def test_d6_characters_that_are_not_seen(table: Callable[..., Path]) -> None:
    """Fault D6: a zero-width space made another class."""
    cells = ["yes", "yes\u200b", "\ufeffyes", "y\u00ades", " yes\u00a0"]
    reading = read(table("a.csv", "text,label", [(f"t {i}", c) for i, c in enumerate(cells)]))
    assert {record.label for record in reading.records} == {"yes"}


def test_half_of_a_character(tmp_path: Path) -> None:
    """JSON can hold it; tokenizers end on it."""
    (tmp_path / "a.jsonl").write_text('{"text": "a \\ud83d b", "label": "x"}\n')
    assert read(tmp_path / "a.jsonl").problems == (
        "a.jsonl row 1: half of a character (a surrogate alone)",
    )


@pytest.mark.parametrize(("cell", "split"), [("eval", "test"), ("Hold-out", "test")])
def test_c3_other_words_of_splits(table: Callable[..., Path], cell: str, split: str) -> None:
    path = table("a.csv", "text,label,split", [("a", "x", "train"), ("b", "x", cell)])
    assert [r.split for r in read(path).records] == ["train", split]
