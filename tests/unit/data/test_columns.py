"""Columns get their roles by name, in any case, and never by a guess."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgetransfer.data.tables import Roles, Table, assign_roles
from edgetransfer.errors import DataError, EdgeTransferError, SpecError
from edgetransfer.spec.recipe import DataSpec


def roles(columns: str, *, needs_label: bool = True, reads_split: bool = True, **given) -> Roles:
    table = Table(Path("t.csv"), tuple(columns.split()), ())
    spec = DataSpec(source="t.csv", **given)
    return assign_roles(table, spec, needs_label=needs_label, reads_split=reads_split)


@pytest.mark.parametrize("file", ["file", "Image", "PATH", "filename", "file_name"])
@pytest.mark.parametrize("label", ["label", "Category", "class", "intent"])
def test_convention_for_pictures(file: str, label: str) -> None:
    assert roles(f"{label} Split who {file}") == Roles("image", file, label, "Split", ("who",))


@pytest.mark.parametrize("text", ["text", "Sentence"])
def test_convention_for_texts(text: str) -> None:
    assert roles(f"{text} label") == Roles("text", text, "label", None, ())


def test_given_names_win() -> None:
    given = roles("file text label topic split", text_column="TEXT", label_column="topic")
    assert given == Roles("text", "text", "topic", "split", ("file", "label"))
    assert roles("file text label", file_column="file").content == "file"
    assert roles("text label", label_column="text", text_column="label").label == "text"


def test_labels_may_be_missing() -> None:
    assert roles("text", needs_label=False).label is None


def test_a_named_table_needs_no_split_column() -> None:
    assert roles("text label split", reads_split=False).metadata == ("split",)


@pytest.mark.parametrize(
    ("columns", "given", "kind", "message"),
    [
        (
            "file text label",
            {},
            DataError,
            "t.csv: the table could be about pictures or about texts\n"
            "  found: the columns file and text\n  fix: give --file-column file or "
            "--text-column text",
        ),
        (
            "words label",
            {},
            DataError,
            "t.csv: no column holds the pictures or the texts\n  found: the columns words, label\n"
            "  expected: a column named file, image, path, filename, file_name, text or sentence\n"
            "  fix: name it with --file-column or --text-column",
        ),
        (
            "text topic",
            {},
            DataError,
            "t.csv: no column holds the labels\n  found: the columns text, topic\n"
            "  expected: a column named label, category, class or intent\n"
            "  fix: name it with --label-column",
        ),
        (
            "text label Class",
            {},
            DataError,
            "t.csv: more than one column could be meant\n  found: label, Class\n"
            "  fix: choose with --label-column",
        ),
        (
            "text label",
            {"label_column": "topic"},
            SpecError,
            "t.csv: --label-column names a column that does not exist\n  found: topic\n"
            "  expected: one of text, label",
        ),
        (
            "text label",
            {"label_column": "text", "text_column": "text"},
            SpecError,
            "t.csv: one column cannot be both the example and its label\n  found: text",
        ),
        (
            "file text label",
            {"file_column": "file", "text_column": "text"},
            SpecError,
            "t.csv: both a text column and a file column were given\n  found: text and file\n"
            "  fix: give only one of --text-column and --file-column",
        ),
        (
            "text label who where",
            {"group_by": ("who", "when")},
            SpecError,
            "t.csv: --group-by names a column that does not exist\n  found: when\n"
            "  expected: one of who, where",
        ),
        (
            "text label",
            {"split_by": "who"},
            SpecError,
            "t.csv: --split-by names a column that does not exist\n  found: who\n"
            "  expected: a table with columns beside the example, its label and its split",
        ),
    ],
)
def test_refused(
    columns: str, given: dict[str, object], kind: type[EdgeTransferError], message: str
) -> None:
    with pytest.raises(kind) as caught:
        roles(columns, **given)
    assert str(caught.value) == message
