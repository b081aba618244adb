"""Folders of pictures: classes, splits, and what lies between them."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.folders import read_folder
from edgetransfer.data.locate import locate
from edgetransfer.errors import DataError, SpecError
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgetransfer.data.manifest import RawData


def read(folder: Path, *, labels_optional: bool = False, **given) -> RawData:
    spec = DataSpec(source=str(folder), **given)
    return read_folder(locate(spec.source), spec, CLASSES, labels_optional=labels_optional)


def roles(reading: RawData) -> Counter:
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
    pictures(Train__a=2, Train__b=1, test__a=1, **{f"{validation}__b": 1})
    (tmp_path / "extra").mkdir()
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
        "3 files and folders left out: hidden or left by a system (._0.png, .cache, Thumbs.db)",
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
    assert reading.notes == ("1 file left out, no picture that is read by the extension: 1 .txt",)


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


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [
        ("training_set", None, "test_set"),
        ("seg_train", None, "seg_test"),
        ("Train", "VALID", "Testing"),
        ("train", None, "eval"),
        ("train", "eval", "test"),
        ("train", "val", "evaluation"),
        ("TrainSet", "DevSet", "hold-out"),
        ("train2017", "val2017", "test2017"),
        ("01 training data", "02_validation", "03 test images"),
    ],
)
def test_c3_names_with_the_words_of_splits(
    tmp_path: Path,
    pictures: Callable[..., None],
    train: str,
    validation: str | None,
    test: str,
) -> None:
    """Fault C3: such folders became the classes, or were left out and another set judged."""
    named = {train: "train", validation: "validation", test: "test"}
    for folder in filter(None, named):
        pictures(**{f"{folder}__cats": 2, f"{folder}__dogs": 1})
    assert roles(read(tmp_path)) == {
        (split, label): n
        for folder, split in named.items()
        if folder
        for label, n in (("cats", 2), ("dogs", 1))
    }


def test_c3_class_first(tmp_path: Path, pictures: Callable[..., None]) -> None:
    """Fault C3: the given split was ignored."""
    pictures(cat__train=3, cat__test=1, dog__train=2, dog__Testing=1, dog__val=1)
    with pytest.raises(DataError) as caught:
        read(tmp_path / "cat" / "train")
    assert "no labelled examples" in str(caught.value)
    assert roles(read(tmp_path)) == {
        ("train", "cat"): 3,
        ("test", "cat"): 1,
        ("train", "dog"): 2,
        ("test", "dog"): 1,
        ("validation", "dog"): 1,
    }


def test_c3_class_first_with_pictures_in_no_split(
    tmp_path: Path, pictures: Callable[..., None]
) -> None:
    pictures(cat__train=3, cat__test=1, dog__train=2, dog__test=1, bird=2)
    assert read(tmp_path).problems == (
        "bird: 2 pictures in none of the folders for splits, which the classes hold here: "
        "test, train",
    )


def test_c3_an_archive_that_was_unpacked_into_itself(
    tmp_path: Path, pictures: Callable[..., None]
) -> None:
    """As Kaggle's: ``seg_train/seg_train/forest``."""
    pictures(
        top__seg_train__seg_train__sea=1,
        top__seg_train__seg_train__forest=1,
        top__seg_test__seg_test__sea=1,
        top__seg_test__seg_test__forest=1,
    )
    assert roles(read(tmp_path)) == {
        (split, label): 1 for split in ("train", "test") for label in ("sea", "forest")
    }


@pytest.mark.parametrize("names", [("part_a", "part_b"), ("fold1", "fold2", "fold3")])
def test_c3_splits_of_unknown_names_are_asked_for(
    tmp_path: Path, pictures: Callable[..., None], names: tuple[str, ...]
) -> None:
    """Fault C3: where every folder holds the same folders, they are not taken for classes."""
    pictures(**{f"{name}__{label}": 2 for name in names for label in ("ants", "bees")})
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: folders that could be splits or classes\n"
        f"  found: {', '.join(names)} each hold ants, bees\n"
        "  expected: folders for splits with train, val or test in their names, or folders of "
        "classes\n"
        "  fix: rename the folders for splits, or put the pictures of a class into one folder"
    )


def test_classes_that_hold_different_folders_are_classes(
    tmp_path: Path, pictures: Callable[..., None]
) -> None:
    pictures(ants__wood=1, ants__grass=1, bees__hive=1, bees__grass=1, bees__flower=1)
    assert roles(read(tmp_path)) == {(None, "ants"): 2, (None, "bees"): 3}


def test_classes_with_the_word_of_a_split_in_their_names(
    tmp_path: Path, pictures: Callable[..., None]
) -> None:
    pictures(test__x=0)
    pictures(**{"train station": 2, "test tube": 1})
    (tmp_path / "test").mkdir(exist_ok=True)
    (tmp_path / "test").rmdir()
    assert roles(read(tmp_path)) == {(None, "train station"): 2, (None, "test tube"): 1}


def test_c3_pictures_beside_the_folders_for_splits(
    tmp_path: Path, pictures: Callable[..., None]
) -> None:
    """Fault C3: they were left out with a note, and another set was judged."""
    pictures(train__a=2, train__b=2, test__a=1, test__b=1, unseen__a=1, unseen__b=1)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: pictures beside the folders for splits, in none of them\n"
        "  found: unseen\n"
        "  expected: folders with train, val or test in their names, with one folder a class\n"
        "  fix: rename the folder, or move it to another place"
    )


def test_c3_domains_that_hold_splits(tmp_path: Path, pictures: Callable[..., None]) -> None:
    names = [f"{d}__{s}__{c}" for d in ("amazon", "dslr") for s in ("train", "test") for c in "ab"]
    pictures(**dict.fromkeys(names, 1))
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: folders for splits lie in several folders, and hold folders themselves\n"
        "  found: amazon/test/a\n"
        "  expected: one data set: train, val and test, with one folder a class in each\n"
        f"  fix: give one of them: {tmp_path / 'amazon'}"
    )


LEAVINGS = (
    "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information", "__MACOSX",
    ".ipynb_checkpoints", ".Trash-1000", "#recycle", "@Recycle",
)  # fmt: skip


@pytest.mark.parametrize("name", LEAVINGS)
@pytest.mark.parametrize("place", ["", "a/", "train/", "train/a/", "a/deep/"])
def test_c3_what_systems_leave(
    tmp_path: Path, picture: Callable[..., Path], name: str, place: str
) -> None:
    """Fault C3: thumbnails of a NAS counted as pictures, and crossed splits."""
    top = "train/" if place.startswith("train") else ""
    for index, label in enumerate(("a", "b")):
        picture(f"{top}{label}/{index}.png", index)
    picture(f"{place}{name}/0.png/THUMB_S.jpg", 5)
    reading = read(tmp_path)
    assert [record.key for record in reading.records] == [f"{top}a/0.png", f"{top}b/1.png"]
    assert (reading.problems, len(reading.notes)) == ((), 1)
    assert name in reading.notes[0]


def test_c3_other_extensions_of_pictures(tmp_path: Path, picture: Callable[..., Path]) -> None:
    """Fault C3: ``.jfif``, ``.jpe`` and ``.HEIC`` vanished."""
    for index, suffix in enumerate(("jfif", "JPE", "Jpg", "AVIF", "pgm", "apng")):
        picture(f"a/{index}.{suffix}", index)
        picture(f"b/{index}.{suffix}", index + 10)
    (tmp_path / "a" / "x.HEIC").write_bytes(b"")
    (tmp_path / "a" / "y.heic").write_bytes(b"")
    (tmp_path / "a" / "z.dng").write_bytes(b"")
    reading = read(tmp_path)
    assert len(reading.records) == 12
    assert reading.notes == (
        "3 files left out, no picture that is read by the extension: 2 .heic, 1 .dng",
    )


def test_c3_a_class_of_pictures_that_are_not_read(
    tmp_path: Path, picture: Callable[..., Path]
) -> None:
    picture("a/0.png", 1)
    for index in range(3):
        path = tmp_path / "b" / f"{index}.HEIC"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    assert read(tmp_path).problems == (
        "b: the folder holds no picture that can be read, but 3 .heic",
    )


def test_d4_pipes_devices_and_broken_links(tmp_path: Path, pictures: Callable[..., None]) -> None:
    """Fault D4: a pipe and a link to /dev/zero were waited for without end."""
    pictures(a=1, b=1)
    os.mkfifo(tmp_path / "a" / "pipe.png")
    (tmp_path / "a" / "zero.png").symlink_to("/dev/zero")
    (tmp_path / "b" / "gone.png").symlink_to("/no/such")
    assert sorted(read(tmp_path).problems) == [
        "a/pipe.png: no regular file",
        "a/zero.png: no regular file",
        "b/gone.png: a link to nothing",
    ]


@pytest.mark.parametrize(
    ("files", "first", "found", "fix"),
    [
        (
            ["a/0.wav", "a/1.wav", "b/2.WAV"],
            "recordings of sound are not supported yet",
            "no picture, no table, but 3 .wav",
            "make a picture of each, for example a spectrogram, in one folder a class",
        ),
        (
            ["pos/0.txt", "neg/1.txt"],
            "texts in files of their own are not read",
            "no picture, no table, but 2 .txt",
            "put them into one table with the columns text and label",
        ),
        (
            ["x.npy", "y.npy"],
            "arrays (.npy) are not read",
            "no picture, no table, but 2 .npy",
            "save the examples as pictures in one folder a class, or as a table of texts",
        ),
    ],
)
def test_c5_folders_of_other_data(
    tmp_path: Path, files: list[str], first: str, found: str, fix: str
) -> None:
    """Fault C5: the message says what the data are."""
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    with pytest.raises(DataError) as caught:
        read(tmp_path, labels_optional=True)
    assert str(caught.value) == (
        f"{tmp_path}: {first}\n  found: {found}\n"
        "  expected: one folder a class with pictures in it, or train, val and test with those, "
        f"or a table metadata.csv\n  fix: {fix}"
    )
