"""Folders of pictures: classes, splits, and what lies between them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.folders import read_folder
from edgetransfer.data.locate import locate
from edgetransfer.errors import DataError, SpecError
from edgetransfer.spec.recipe import DataSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgetransfer.data.reading import Reading


def read(folder: Path, *, labels_optional: bool = False, **given) -> Reading:
    spec = DataSpec(source=str(folder), **given)
    return read_folder(locate(spec.source), spec, labels_optional=labels_optional)


def roles(reading: Reading) -> Counter:
    return Counter((r.split, r.label) for r in reading.records)


def test_one_folder_a_class(tmp_path: Path, pictures: Callable[..., None]) -> None:
    pictures(bees=2, ants=1, ants__wood=1)
    reading = read(tmp_path)
    assert [(r.key, r.label, r.split) for r in reading.records] == [
        ("ants/0.png", "ants", None),
        ("ants/wood/0.png", "ants", None),
        ("bees/0.png", "bees", None),
        ("bees/1.png", "bees", None),
    ]
    assert reading.records[0].path == tmp_path / "ants" / "0.png"
    assert (reading.problems, reading.notes) == ((), ())


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev", "VAL"])
def test_folders_for_splits(tmp_path: Path, pictures: Callable[..., None], validation: str) -> None:
    pictures(Train__a=2, Train__b=1, test__a=1, extra__a=1, **{f"{validation}__b": 1})
    reading = read(tmp_path)
    assert roles(reading) == {
        ("train", "a"): 2,
        ("train", "b"): 1,
        ("validation", "b"): 1,
        ("test", "a"): 1,
    }
    assert reading.notes == ("left out beside the folders for splits: extra",)


def test_trains_are_a_class_too(tmp_path: Path, pictures: Callable[..., None]) -> None:
    pictures(train=2, bus=1)
    assert roles(read(tmp_path)) == {(None, "train"): 2, (None, "bus"): 1}


def test_what_is_no_picture_is_counted(
    tmp_path: Path, picture: Callable[..., Path], pictures: Callable[..., None]
) -> None:
    pictures(a=1, b=1)
    picture("a/._0.png", 1)
    picture("loose.png", 2)
    picture(".cache/0.png", 3)
    (tmp_path / "b" / "Thumbs.db").write_text("")
    reading = read(tmp_path)
    assert [r.key for r in reading.records] == ["a/0.png", "b/0.png"]
    assert reading.notes == (
        "2 files left out: hidden, or no picture by extension",
        "1 picture left out: not in the folder of a class",
    )


def test_any_case_of_extension(tmp_path: Path, picture: Callable[..., Path]) -> None:
    for name in ("a/1.JPG", "a/2.jpeg", "a/3.Png", "a/4.bmp", "a/5.gif", "a/6.webp", "a/7.TIFF"):
        picture(name, 1)
    assert len(read(tmp_path).records) == 7


def test_composed_and_decomposed_names_are_one_class(
    tmp_path: Path, picture: Callable[..., Path]
) -> None:
    picture("train/cafe\u0301/1.png", 1)
    picture("test/caf\u00e9/2.png", 2)
    assert {r.label for r in read(tmp_path).records} == {"caf\u00e9"}


def test_circular_links_end(tmp_path: Path, pictures: Callable[..., None]) -> None:
    pictures(a=1, elsewhere=2)
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a")
    (tmp_path / "b").symlink_to(tmp_path / "elsewhere")
    assert roles(read(tmp_path)) == {(None, "a"): 1, (None, "b"): 2, (None, "elsewhere"): 2}


def test_empty_folders_are_problems(tmp_path: Path, pictures: Callable[..., None]) -> None:
    pictures(train__a=1, test=2)
    (tmp_path / "train" / "b").mkdir()
    (tmp_path / "val").mkdir()
    reading = read(tmp_path)
    assert reading.problems == (
        "test: 2 pictures but no folder of a class",
        "train/b: the folder holds no picture",
        "val: no folder of a class",
    )


def test_two_folders_for_one_split(tmp_path: Path, pictures: Callable[..., None]) -> None:
    pictures(train__a=1, dev__a=1, val__a=1)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: two folders for the split validation\n  found: dev and val\n"
        "  fix: put them together, or take one away"
    )


@pytest.mark.parametrize(
    ("loose", "found"), [(0, "no picture, no table"), (2, "2 pictures without class")]
)
def test_nothing_with_a_label(
    tmp_path: Path, picture: Callable[..., Path], loose: int, found: str
) -> None:
    for i in range(loose):
        picture(f"{i}.png", i)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no labelled examples in the folder\n  found: {found}\n"
        "  expected: one folder a class with pictures in it, or train, val and test with those, "
        "or a table metadata.csv"
    )


def test_flat_folder_for_judging(tmp_path: Path, picture: Callable[..., Path]) -> None:
    for name in ("b.png", "a.png", "notes.txt"):
        picture(name, 1)
    (tmp_path / "empty").mkdir()
    reading = read(tmp_path, labels_optional=True)
    assert [(r.key, r.label) for r in reading.records] == [("a.png", None), ("b.png", None)]
    assert reading.problems == ()
    assert reading.notes == ("1 file left out: hidden, or no picture by extension",)


def test_columns_need_a_table(tmp_path: Path, pictures: Callable[..., None]) -> None:
    pictures(a=1)
    with pytest.raises(SpecError) as caught:
        read(tmp_path, split_by="who", group_by=("x", "y"))
    assert str(caught.value) == (
        f"{tmp_path}: a folder of pictures has no columns\n"
        "  found: --split-by who, --group-by x, y\n"
        "  fix: leave the option out, or describe the pictures in a table metadata.csv"
    )


def test_a_link_to_the_folder_above_brings_in_no_other_class(
    tmp_path: Path, pictures: Callable[..., None]
) -> None:
    pictures(a=1, b=2)
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    assert roles(read(tmp_path)) == {(None, "a"): 1, (None, "b"): 2}
