"""Tables of four kinds become the same rows of strings."""

from __future__ import annotations

import builtins
import importlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.tables import read_table
from edgetransfer.errors import DataError, MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text,label\n"one, ""two""",x\n\nthree,y\n'),
        ("a.csv", '\ufefftext,label\r\n"one, ""two""",x\r\n\r\nthree,y\r\n'),
        ("a.csv", ',text,label\n0,"one, ""two""",x\n\n1,three,y\n'),
        ("a.csv", 'text;label\n"one, ""two""";x\n\nthree;y\n'),
        ("a.TSV", 'text\tlabel\n"one, ""two"""\tx\n\nthree\ty\n'),
    ],
)
def test_separated(tmp_path: Path, name: str, content: str) -> None:
    table = read_table(write(tmp_path, name, content))
    assert table.columns == ("text", "label")
    assert table.rows == (
        (2, {"text": 'one, "two"', "label": "x"}),
        (4, {"text": "three", "label": "y"}),
    )
    assert table.problems == ()


def test_rows_of_wrong_length(tmp_path: Path) -> None:
    table = read_table(write(tmp_path, "a.csv", "text,label\none,x,y\ntwo\n"))
    assert table.rows == ((3, {"text": "two", "label": ""}),)
    assert table.problems == ("a.csv row 2: 3 cells, but the header has 2",)


def test_jsonl(tmp_path: Path) -> None:
    lines = [
        json.dumps({"text": "one", "label": 3}),
        "",
        "{broken",
        "[1]",
        json.dumps({"text": None, "more": True, "list": [1]}),
    ]
    table = read_table(write(tmp_path, "a.jsonl", "\n".join(lines)))
    assert table.columns == ("text", "label", "more", "list")
    assert table.rows == (
        (1, {"text": "one", "label": "3", "more": "", "list": ""}),
        (5, {"text": "", "label": "", "more": "true", "list": "[1]"}),
    )
    assert table.problems == (
        "a.jsonl row 3: not JSON (Expecting property name enclosed in double quotes)",
        "a.jsonl row 4: not an object like {...}",
    )


def test_parquet(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = {"text": ["one", None], "label": [3, 4], "score": [float("nan"), 0.5]}
    parquet.write_table(arrow.table(columns), tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert table.columns == ("text", "label", "score")
    assert table.rows == (
        (1, {"text": "one", "label": "3", "score": ""}),
        (2, {"text": "", "label": "4", "score": "0.5"}),
    )


def test_damaged_parquet(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    path = write(tmp_path, "a.parquet", b"nothing of the kind")
    with pytest.raises(DataError, match=f"^{path}: not a readable Parquet file\n  found: "):
        read_table(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise builtins.ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(MissingExtraError) as caught:
        read_table(tmp_path / "a.parquet")
    assert str(caught.value) == (
        "reading a.parquet needs the package pyarrow, which is not installed\n"
        "  fix: pip install 'edgetransfer[parquet]'"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{}: the table has no columns\n  expected: a header"),
        (b"text,label\n", "{}: the table has no rows\n  expected: one example a row"),
        (
            b"text,label,text\na,b,c\n",
            "{}: a column stands twice in the header\n  found: text\n  fix: rename one of them",
        ),
        (
            b"text,label\ncaf\xe9,x\n",
            "{}: the table is not UTF-8 text\n  found: byte 0xe9 at offset 14\n"
            "  fix: save it with the encoding UTF-8",
        ),
        (
            b'text,label\n"one,x\n',
            "{} line 2: the table's quoting is broken\n  found: unexpected end of data\n"
            '  fix: put quotes around the cell and double the quotes inside it ("")',
        ),
    ],
)
def test_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path, "a.csv", content)
    with pytest.raises(DataError) as caught:
        read_table(path)
    assert str(caught.value) == message.format(path)


def test_fixture_writes_what_is_read(table: Callable[..., Path]) -> None:
    assert read_table(table("b.tsv", "text,label", [("a\tb", "x")])).rows == (
        (2, {"text": "a\tb", "label": "x"}),
    )


def test_d6_a_cell_of_300_000_characters(tmp_path: Path) -> None:
    """Fault D6: it was told as broken quoting."""
    (tmp_path / "a.csv").write_text("text,label\n" + "word " * 60_000 + ",a\n")
    ((_, cells),) = read_table(tmp_path / "a.csv").rows
    assert len(cells["text"]) == 300_000


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n', ""])
def test_d6_the_line_that_names_the_separator(tmp_path: Path, first: str) -> None:
    """Fault D6: Excel's first line; it does not count it, and rows keep their numbers."""
    (tmp_path / "a.csv").write_text(f"{first}text;label\none, two;a\n", newline="")
    table = read_table(tmp_path / "a.csv")
    assert table.rows == ((2, {"text": "one, two", "label": "a"}),)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_d6_what_spreadsheets_save_as_unicode(tmp_path: Path, encoding: str) -> None:
    """Fault D6: UTF-16 with its mark."""
    mark = "\ufeff" if encoding.startswith("utf-16-") else ""
    (tmp_path / "a.csv").write_bytes(f"{mark}text\tlabel\ncaf\u00e9\ta\n".encode(encoding))
    assert read_table(tmp_path / "a.csv").rows == ((2, {"text": "caf\u00e9", "label": "a"}),)


def test_d6_commas_behind_the_last_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label\none,a,,\ntwo,b,x\n")
    table = read_table(tmp_path / "a.csv")
    assert table.rows == ((2, {"text": "one", "label": "a"}),)
    assert table.problems == ("a.csv row 3: 3 cells, but the header has 2",)


def test_d4_a_pipe_is_no_table(tmp_path: Path) -> None:
    """Fault D4: it was waited for without end."""
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / "a.csv")
    assert str(caught.value) == (
        f"{tmp_path / 'a.csv'}: not a readable table\n  found: a named pipe, no file"
    )
