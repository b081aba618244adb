"""Unlabelled texts: all of a file, less what is judged on and what is there already."""

from __future__ import annotations

import pytest

from edgetransfer.data import sources
from edgetransfer.data.unlabelled import fingerprint, load
from edgetransfer.errors import DataError, SpecError
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES


@pytest.fixture
def labelled(table):
    rows = [
        (f"{split} says {label}{i}", label, split)
        for split in ("train", "validation", "test")
        for label in "ab"
        for i in range(4)
    ]
    return sources.load(
        DataSpec(source=str(table("data.csv", "text,label,split", rows))), CLASSES, seed=0
    )


def texts_of(more):
    return [example.text for example in more.examples]


def test_labels_and_splits_are_not_read(labelled, table):
    file = table("more.csv", "label,text,split", [("c", "one", "holdout"), ("", "two", "test")])
    told = []
    more = load(str(file), labelled, None, progress=lambda *line: told.append(line))
    assert [(e.key, e.text, e.label, e.split) for e in more.examples] == [
        ("more.csv row 2", "one", None, "train"),
        ("more.csv row 3", "two", None, "train"),
    ]
    assert (more.modality, more.labels, more.notes, more.dropped) == ("text", ("a", "b"), (), {})
    assert told[-1] == (2, 2)
    assert type(more).from_json(more.to_json()) == more


def test_a_text_a_line(labelled, tmp_path):
    file = tmp_path / "more.txt"
    file.write_bytes("\ufefffirst, with a comma\r\n\n  \nsecond\n".encode())
    more = load(str(file), labelled, None)
    assert [(e.key, e.text) for e in more.examples] == [
        ("more.txt line 1", "first, with a comma"),
        ("more.txt line 4", "second"),
    ]


def test_all_tables_of_a_folder(labelled, table, tmp_path):
    (tmp_path / "all").mkdir()
    table("all/test.csv", "text", [("one",)])
    table("all/train.tsv", "sentence,other", [("two", "x")])
    assert sorted(texts_of(load(str(tmp_path / "all"), labelled, None))) == ["one", "two"]


def test_what_is_judged_on_or_there_already_is_left_out(labelled, table):
    said = [
        "new", "NEW ", "Test  says a0", "test says b1", "validation says a0", "train says a3", " ",
    ]  # fmt: skip
    more = load(str(table("more.csv", "text", [(each,) for each in said])), labelled, None)
    assert texts_of(more) == ["new"]
    assert more.notes == (
        "5 of 6 unlabelled texts were dropped: 2 duplicate of a test example, "
        "1 duplicate of a validation example, 1 duplicate of a train example, "
        "1 duplicate of another unlabelled text",
    )


def test_nothing_left(labelled, table):
    file = table("more.csv", "text", [("test says a0",)])
    with pytest.raises(DataError) as caught:
        load(str(file), labelled, None)
    assert str(caught.value) == (
        f"--unlabelled {file}: no unlabelled text is left\n"
        "  found: 1 of 1 unlabelled text was dropped: 1 duplicate of a test example\n"
        "  fix: give other texts, or leave --unlabelled out"
    )


def test_what_holds_no_texts(labelled, table, picture, tmp_path):
    picture("pictures/a.png", 0)
    with pytest.raises(DataError) as caught:
        load(str(tmp_path / "pictures"), labelled, None)
    assert str(caught.value) == (
        f"--unlabelled {tmp_path / 'pictures'}: no texts in the folder\n"
        "  expected: a CSV, TSV, JSONL or Parquet table, or a .txt file with a text a line"
    )
    file = table("files.csv", "file", [("a.png",)])
    with pytest.raises(DataError) as caught:
        load(str(file), labelled, None)
    assert str(caught.value) == (
        f"{file}: the table is about pictures, and the labelled examples are texts\n"
        "  found: the column file\n"
        "  fix: name the column of texts with --text-column"
    )


def test_the_column_is_the_one_that_was_named(labelled, table):
    file = table("more.csv", "text,said", [("one", "two")])
    assert texts_of(load(str(file), labelled, "said")) == ["two"]
    with pytest.raises(SpecError) as caught:
        load(str(file), labelled, "words")
    assert str(caught.value) == (
        f"{file}: --text-column names a column that does not exist\n"
        "  found: words\n"
        "  expected: one of text, said"
    )


def test_a_file_of_lines_in_another_encoding(labelled, tmp_path):
    file = tmp_path / "more.txt"
    file.write_bytes("für".encode("latin-1"))
    with pytest.raises(DataError) as caught:
        load(str(file), labelled, None)
    assert str(caught.value) == (
        f"{file}: the file is not UTF-8 text\n"
        "  found: byte 0xfc at offset 1\n"
        "  fix: save it with the encoding UTF-8"
    )


def test_the_fingerprint_changes_with_contents_and_names(tmp_path):
    file = tmp_path / "more.txt"
    file.write_text("one\n")
    seen = [fingerprint(str(file), "text")]
    file.write_text("two\n")
    seen.append(fingerprint(str(file), "text"))
    seen.append(fingerprint(str(file.rename(tmp_path / "other.txt")), "text"))
    assert len(set(seen)) == 3
