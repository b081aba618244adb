"""What is asked about: files are read, texts are texts, and one that is wrong ends no other."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.inputs import asked_about

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def texts(*given: object, **columns: str) -> list[tuple[str, str, str | None]]:
    found = asked_about(map(str, given), "text", **columns)
    return [(a.shown, a.where, None if a.problem is None else str(a.problem)) for a in found]


def test_c7_a_table_is_read(tmp_path: Path, table: Callable[..., Path]) -> None:
    """Fault C7: the name of the file was classified."""
    path = table("a.csv", "text,label", [("one", "x"), ("", "y"), ("two", ""), ("", "")])
    empty = "a.csv row 3: empty text\n  expected: a word at least"
    assert texts(path, "three") == [
        ("one", "a.csv row 2", None),
        ("", "a.csv row 3", empty),
        ("two", "a.csv row 4", None),
        ("three", "", None),
    ]
    assert texts(path, text_column="label")[0] == ("x", "a.csv row 2", None)


def test_c7_lines_of_a_file_and_of_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("one\n\ntwo\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("three\n \nfour"))
    assert texts(tmp_path / "a.txt", "-") == [
        ("one", "a.txt line 1", None),
        ("two", "a.txt line 3", None),
        ("three", "", None),
        ("four", "", None),
    ]


@pytest.mark.parametrize(
    "text",
    ["test", "and/or", "x" * 5000, "what is a.csv ?", "a\0b", "see notes.txt please", "~nobody/x"],
)
def test_texts_are_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "test").mkdir()
    assert texts(text) == [(text, "", None)]


def test_c7_names_of_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Fault C7: they were classified as texts."""
    (tmp_path / "a.pdf").write_bytes(b"")
    wanted = "a text in quotes, a table, or a .txt file with a text a line"
    assert texts(tmp_path / "no.csv", tmp_path / "a.pdf", tmp_path, "one") == [
        (
            f"{tmp_path / 'no.csv'}",
            "",
            f"{tmp_path / 'no.csv'}: the file cannot be read\n  found: no such file",
        ),
        (
            f"{tmp_path / 'a.pdf'}",
            "",
            f"{tmp_path / 'a.pdf'}: a file that holds no texts\n  expected: {wanted}",
        ),
        (
            str(tmp_path),
            "",
            f"{tmp_path}: a folder, and the model is for texts\n  expected: {wanted}",
        ),
        ("one", "", None),
    ]


def test_c7_pictures_of_folders_and_tables(
    tmp_path: Path, picture: Callable[..., Path], table: Callable[..., Path]
) -> None:
    """Fault C7: a folder was ``[Errno 21]``."""
    one, two = picture("p/a/1.png", 1), picture("p/2.png", 2)
    path = table("m.csv", "file,label", [("p/2.png", "x"), ("p/3.png", "y")])
    (tmp_path / "empty").mkdir()
    found = list(asked_about(map(str, (tmp_path / "p", path, tmp_path / "empty", one)), "image"))
    assert [(a.shown, a.where) for a in found] == [
        (str(two), ""),
        (str(one), ""),
        (str(two), "m.csv row 2"),
        (str(tmp_path / "p" / "3.png"), "m.csv row 3"),
        (str(tmp_path / "empty"), ""),
        (str(one), ""),
    ]
    assert str(found[4].problem) == f"{tmp_path / 'empty'}: no picture in the folder"


def test_a_table_of_the_other_kind(table: Callable[..., Path]) -> None:
    path = table("a.csv", "text,label", [("one", "x")])
    (asked,) = asked_about([str(path)], "image")
    assert str(asked.problem) == (
        f"{path}: the table is about texts, and the model is for pictures\n  found: the column text"
    )
