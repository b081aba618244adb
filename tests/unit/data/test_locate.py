"""What a source is, is found out before anything is read; what is no data is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.locate import locate
from edgetransfer.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

TABLES = "a folder of pictures, or a CSV, TSV, JSONL or Parquet table"


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_text("")


def test_folder_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/photos").root == tmp_path / "photos"
    assert locate("~/photos").tables == ()


@pytest.mark.parametrize("name", ["a.csv", "a.TSV", "a.jsonl", "a.parquet"])
def test_a_table_alone_or_in_its_folder(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name, "readme.md", ".hidden.csv")
    assert locate(str(tmp_path)) == locate(str(tmp_path / name))
    assert [(t.path.name, t.split) for t in locate(str(tmp_path)).tables] == [(name, None)]


@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev", "Dev"])
def test_tables_named_for_splits(tmp_path: Path, validation: str) -> None:
    touch(tmp_path, "test.csv", "train.csv", f"{validation}.csv", "labels.csv")
    located = locate(str(tmp_path))
    assert [t.split for t in located.tables] == ["train", "validation", "test"]
    assert located.notes == ("left out beside the tables for splits: labels.csv",)


def test_shards_are_parts_of_one_set(tmp_path: Path) -> None:
    touch(tmp_path, "train-00001-of-00002.parquet", "train-00000-of-00002.parquet", "test.parquet")
    assert [t.path.name[:11] for t in locate(str(tmp_path)).tables] == [
        "train-00000",
        "train-00001",
        "test.parque",
    ]


def test_a_linked_table_names_files_beside_the_link(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    touch(tmp_path / "blobs", "a1b2")
    (tmp_path / "a.csv").symlink_to(tmp_path / "blobs" / "a1b2")
    assert locate(str(tmp_path / "a.csv")).root == tmp_path


def test_two_tables_for_one_split(tmp_path: Path) -> None:
    touch(tmp_path, "train.csv", "dev.csv", "val.csv")
    with pytest.raises(DataError) as caught:
        locate(str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}: two tables for the split validation\n"
        "  found: dev.csv and val.csv\n  fix: put them together, or take one away"
    )


def test_two_tables_that_could_be_meant(tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b.csv")
    with pytest.raises(DataError) as caught:
        locate(str(tmp_path))
    assert str(caught.value) == (
        f"{tmp_path}: more than one table in the folder\n  found: a.csv, b.csv\n"
        "  expected: one table, or tables named train, val and test\n  fix: give the table itself"
    )


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        locate(f"{tmp_path}/no/such")
    assert str(caught.value) == (
        f"{tmp_path}/no/such: no such folder or file\n"
        f"  found: nothing; the nearest folder that exists is {tmp_path}\n"
        f"  expected: {TABLES}\n  fix: check the path"
    )


def test_names_of_the_hub_are_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError) as caught:
        locate("PolyAI/banking77")
    assert str(caught.value) == (
        "PolyAI/banking77: no such folder or file\n"
        f"  found: nothing; the nearest folder that exists is {tmp_path}\n"
        f"  expected: {TABLES}\n"
        "  fix: check the path; if this is a data set of the Hugging Face Hub, download it and "
        "give the folder"
    )


@pytest.mark.parametrize("source", ["https://example.org/a.csv", "hf://datasets/a/b", "hf:a/b"])
def test_addresses_are_no_data(source: str) -> None:
    with pytest.raises(DataError) as caught:
        locate(source)
    assert str(caught.value) == (
        f"{source}: data is read from this machine only\n  found: an address\n"
        f"  expected: {TABLES}\n  fix: download it first and give the folder"
    )


@pytest.mark.parametrize(
    ("name", "found", "fix"),
    [
        (
            "coco.json",
            "a file with the extension .json",
            "\n  fix: save one object a line as .jsonl; annotations for detection (COCO) are not "
            "supported",
        ),
        (
            "a.JPG",
            "a file with the extension .jpg",
            "\n  fix: give the folder that the picture is in",
        ),
        ("a.xyz", "a file with the extension .xyz", ""),
        ("data", "a file with no extension", ""),
    ],
)
def test_other_files(tmp_path: Path, name: str, found: str, fix: str) -> None:
    touch(tmp_path, name)
    with pytest.raises(DataError) as caught:
        locate(str(tmp_path / name))
    assert str(caught.value) == (
        f"{tmp_path / name}: not a data set that can be read\n"
        f"  found: {found}\n  expected: {TABLES}{fix}"
    )


@pytest.mark.parametrize(
    ("name", "first", "fix"),
    [
        (
            "a.wav",
            "recordings of sound are not supported yet",
            "make a picture of each, for example a spectrogram, in one folder a class",
        ),
        ("a.mp4", "videos are not supported", "save pictures of them, in one folder a class"),
        (
            "a.npz",
            "arrays (.npz) are not read",
            "save the examples as pictures in one folder a class, or as a table of texts",
        ),
        ("a.HEIC", "pictures of the kind .heic cannot be read", "convert them to JPEG or PNG"),
    ],
)
def test_c5_data_of_another_kind(tmp_path: Path, name: str, first: str, fix: str) -> None:
    """Fault C5: what the data are is said."""
    touch(tmp_path, name)
    with pytest.raises(DataError) as caught:
        locate(str(tmp_path / name))
    suffix = name[1:].lower()
    assert str(caught.value) == (
        f"{tmp_path / name}: {first}\n  found: a file with the extension {suffix}\n"
        f"  expected: {TABLES}\n  fix: {fix}"
    )


def test_c3_tables_with_words_of_splits_in_their_names(tmp_path: Path) -> None:
    """Fault C3, of tables: ``Testing.csv`` was left out and another set judged."""
    touch(tmp_path, "my_train.csv", "Testing.csv", "eval-set.csv")
    located = locate(str(tmp_path))
    assert [(t.path.name, t.split) for t in located.tables] == [
        ("my_train.csv", "train"),
        ("eval-set.csv", "validation"),
        ("Testing.csv", "test"),
    ]


def test_d4_a_pipe_is_no_table(tmp_path: Path) -> None:
    """Fault D4: it was waited for without end."""
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError) as caught:
        locate(str(tmp_path / "a.csv"))
    assert str(caught.value) == (f"{tmp_path / 'a.csv'}: no regular file\n  expected: {TABLES}")


def test_a_table_alone_is_no_split_by_a_word_in_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "dev questions.csv")
    (named,) = locate(str(tmp_path)).tables
    assert named.split is None
