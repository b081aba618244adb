"""From a folder or a table to a manifest, whole."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from edgetransfer.data.sources import fingerprint, load, load_for_evaluation
from edgetransfer.errors import DataError, SpecError
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgetransfer.data.manifest import Manifest

Pictures = "Callable[..., None]"


def spec(source: Path, **given) -> DataSpec:
    return DataSpec(source=str(source), **given)


def sizes(manifest: Manifest) -> dict[str, int]:
    return dict(Counter(e.split for e in manifest.examples))


def test_folder_without_splits(tmp_path: Path, pictures: Pictures) -> None:
    pictures(ants=10, bees=10)
    calls = []
    m = load(
        spec(tmp_path), CLASSES, seed=5, progress=lambda done, total: calls.append((done, total))
    )
    assert m.modality == "image"
    assert m.labels == ("ants", "bees")
    assert m.root == str(tmp_path)
    assert sizes(m) == {"train": 12, "validation": 4, "test": 4}
    assert m.notes == (
        "no split was given, so all examples were split by label, seed 5: "
        "12 for train (60%), 4 for validation (20%), 4 for test (20%)",
    )
    assert m.dropped == {}
    assert m.examples[0].path == tmp_path / "ants" / "0.png"
    assert calls == [(i, 20) for i in range(1, 21)]


def test_digest_does_not_depend_on_the_place(tmp_path: Path, pictures: Pictures) -> None:
    pictures(one__ants=5, one__bees=5)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    one, two = (load(spec(tmp_path / name), CLASSES, seed=0) for name in ("one", "two"))
    assert one.digest == two.digest
    assert one.split_digests() == two.split_digests()
    assert one.digest != load(spec(tmp_path / "one"), CLASSES, seed=1).digest


def test_train_and_val_folders(tmp_path: Path, pictures: Pictures) -> None:
    pictures(train__a=5, train__b=5, val__a=2, val__b=1)
    m = load(spec(tmp_path), CLASSES, seed=0)
    assert sizes(m) == {"train": 8, "validation": 2, "test": 3}
    assert {e.key.split("/")[0] for e in m.split("test")} == {"val"}
    assert m.notes == (
        "no test set was given, so the given validation set is the test set",
        "without a validation set, the training examples were split by label, seed 0: "
        "8 for train (80%), 2 for validation (20%)",
    )


def test_three_folders_and_leaks_between_them(
    tmp_path: Path, pictures: Pictures, picture: Callable[..., Path]
) -> None:
    pictures(train__a=3, train__b=3, val__a=1, val__b=1, test__a=1, test__b=1)
    shutil.copy(tmp_path / "test/a/0.png", tmp_path / "train/a/leak.png")
    shutil.copy(tmp_path / "val/b/0.png", tmp_path / "train/b/leak.png")
    m = load(spec(tmp_path), CLASSES, seed=0)
    assert sizes(m) == {"train": 6, "validation": 2, "test": 2}
    assert m.dropped == {
        "duplicate of a test example": 1,
        "duplicate of a validation example": 1,
    }
    assert m.notes == (
        "1 of 2 test examples also stands in train: 1 train example that repeats one was "
        "dropped, test is unaltered",
        "1 of 2 validation examples also stands in train: 1 train example that repeats one was "
        "dropped, validation is unaltered",
    )


def test_table_of_texts(table: Callable[..., Path], texts: Callable[..., list]) -> None:
    m = load(spec(table("t.csv", "text,label", texts("10", 8) + texts("9", 8))), CLASSES, seed=0)
    assert (m.modality, m.labels) == ("text", ("9", "10"))
    assert sizes(m) == {"train": 12, "validation": 2, "test": 2}
    assert m.examples[0].key == "row 2"
    assert m.examples[0].path is None


def test_order_of_rows_does_not_matter(
    table: Callable[..., Path], texts: Callable[..., list]
) -> None:
    rows = texts("a", 10) + texts("b", 10)
    one = load(spec(table("1.csv", "text,label", rows)), CLASSES, seed=0)
    two = load(spec(table("2.csv", "text,label", rows[::-1])), CLASSES, seed=0)
    assert {e.text: e.split for e in one.examples} == {e.text: e.split for e in two.examples}


def test_groups_of_a_table(table: Callable[..., Path], texts: Callable[..., list]) -> None:
    rows = [(*row, f"s{i % 5}") for i, row in enumerate(texts("a", 15) + texts("b", 15))]
    path = table("t.csv", "text,label,speaker", rows)
    m = load(spec(path, split_by="speaker", group_by=("speaker",)), CLASSES, seed=0)
    sides = {(e.metadata["speaker"], e.split) for e in m.examples}
    assert len(sides) == 5
    assert set(sizes(m)) == {"train", "validation", "test"}


def test_contents_torn_apart_by_groups_leave_train(
    table: Callable[..., Path], texts: Callable[..., list]
) -> None:
    rows = [(*row, who) for who in "xyz" for row in texts("a", 1) + texts("b", 1)]
    rows += [(f"{who} {label} {i}", label, who) for who in "xyz" for label in "ab" for i in (1, 2)]
    m = load(spec(table("t.csv", "text,label,who", rows), split_by="who"), CLASSES, seed=0)
    assert sizes(m) == {"train": 4, "validation": 4, "test": 6}
    assert m.dropped == {"duplicate of a test example": 4}


def test_values_on_both_sides_of_given_splits(
    table: Callable[..., Path], texts: Callable[..., list]
) -> None:
    rows = [
        (f"{split} {label} {i}", label, split, "me")
        for split, number in (("train", 3), ("dev", 1), ("test", 1))
        for label in "ab"
        for i in range(number)
    ]
    m = load(spec(table("t.csv", "text,label,split,who", rows), split_by="who"), CLASSES, seed=0)
    assert m.notes == (
        "1 of the 1 value of who in the test set also stands in train or validation: "
        "the test score does not tell how a new who fares",
    )


def test_all_problems_at_once(
    tmp_path: Path, table: Callable[..., Path], picture: Callable[..., Path]
) -> None:
    for i in range(4):
        picture(f"{i}.png", i)
    picture("bad.png", 9).write_bytes(b"bad")
    rows = [
        *((f"{i}.png", "a", "train") for i in range(3)),
        ("bad.png", "a", "train"),
        ("gone.png", "a", "train"),
        ("3.png", "b", "test"),
        ("0.png", "", "trian"),
    ]
    with pytest.raises(DataError) as caught:
        load(spec(table("m.csv", "file,label,split", rows)), CLASSES, seed=0)
    assert str(caught.value) == (
        f"{tmp_path}/m.csv: 6 problems in the data\n"
        "  - m.csv row 6: the file gone.png does not exist\n"
        "  - m.csv row 8: empty label\n"
        "  - m.csv row 8: unknown split 'trian' (known: train, val, test "
        "and the like)\n"
        "  - m.csv row 5: the picture cannot be read, found: no picture in a known format, "
        "expected: a whole JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF or PNM picture\n"
        "  - only one class, 'a'; at least 2 are needed\n"
        "  - class 'b' has no training example, but 1 for test (first: m.csv row 7)\n"
        "  fix: correct the data and start again"
    )


def test_duplicates_explain_a_class_that_is_short(
    tmp_path: Path, table: Callable[..., Path], texts: Callable[..., list]
) -> None:
    table("train.csv", "text,label", texts("a", 3) + texts("b", 3))
    table("test.csv", "text,label", texts("b", 3))
    with pytest.raises(DataError) as caught:
        load(spec(tmp_path), CLASSES, seed=0)
    assert str(caught.value) == (
        f"{tmp_path}: 3 problems in the data\n"
        "  - only one class, 'a'; at least 2 are needed\n"
        "  - class 'b' has no training example, but 3 for test (first: test.csv row 2)\n"
        "  - 3 of 3 test examples also stand in train: 3 train examples that repeat them were "
        "dropped, test is unaltered\n"
        "  fix: correct the data and start again"
    )


def test_new_pictures_without_labels(tmp_path: Path, picture: Callable[..., Path]) -> None:
    picture("b.png", 1)
    picture("a.png", 2)
    m = CLASSES.recognised(load_for_evaluation(spec(tmp_path), CLASSES), ("x", "y"), "here")
    assert [(e.key, e.label, e.split) for e in m.examples] == [
        ("a.png", None, "test"),
        ("b.png", None, "test"),
    ]
    assert m.labels == ("x", "y")


def test_new_texts_with_labels(table: Callable[..., Path], texts: Callable[..., list]) -> None:
    path = table("t.csv", "text,label", texts("b", 1) + texts("a", 2))
    found = load_for_evaluation(spec(path), CLASSES)
    assert found.labels == ("a", "b")
    m = CLASSES.recognised(found, ("c", "b", "a"), str(path))
    assert CLASSES.truth(m, m.examples).tolist() == [1, 2, 2]
    with pytest.raises(DataError) as caught:
        CLASSES.recognised(found, ("a", "c"), str(path))
    assert str(caught.value) == (
        f"{path}: the data has classes that the model does not know\n  found: b\n  expected: a, c"
    )


def test_only_the_test_set_is_judged_on(tmp_path: Path, pictures: Pictures) -> None:
    pictures(train__a=2, val__a=1, test__b=3)
    m = load_for_evaluation(spec(tmp_path), CLASSES)
    assert sizes(m) == {"test": 3}
    assert m.notes == ("only the test set is read, 3 examples left out",)
    shutil.rmtree(tmp_path / "test")
    m = load_for_evaluation(spec(tmp_path), CLASSES)
    assert [e.key for e in m.examples] == ["val/a/0.png"]
    assert m.notes == ("only the validation set is read, 2 examples left out",)


def test_fingerprint_sees_every_file(
    tmp_path: Path, table: Callable[..., Path], picture: Callable[..., Path]
) -> None:
    picture("a.png", 1)
    path = table("m.csv", "file,label,who", [("a.png", "x", "me"), ("b.png", "y", "me")])
    seen = [fingerprint(spec(path), CLASSES), fingerprint(spec(path), CLASSES)]
    assert seen[0] == seen[1]
    seen.append(fingerprint(spec(path, group_by=("who",)), CLASSES))
    picture("b.png", 2)
    seen.append(fingerprint(spec(path), CLASSES))
    picture("b.png", 3)
    seen.append(fingerprint(spec(path), CLASSES))
    table("m.csv", "file,label,who", [("a.png", "x", "me"), ("b.png", "x", "me")])
    seen.append(fingerprint(spec(path), CLASSES))
    assert len(set(seen)) == 5


def test_fingerprint_of_a_folder(tmp_path: Path, pictures: Pictures) -> None:
    pictures(a=2, b=1)
    seen = [fingerprint(spec(tmp_path), CLASSES)]
    (tmp_path / "a/0.png").rename(tmp_path / "a/9.png")
    seen.append(fingerprint(spec(tmp_path), CLASSES))
    (tmp_path / "a/9.png").rename(tmp_path / "b/9.png")
    seen.append(fingerprint(spec(tmp_path), CLASSES))
    (tmp_path / "c").mkdir()
    seen.append(fingerprint(spec(tmp_path), CLASSES))
    assert len(set(seen)) == 4


def test_a_column_that_does_not_exist(
    table: Callable[..., Path], texts: Callable[..., list]
) -> None:
    path = table("t.csv", "text,label,language", [(*r, "de") for r in texts("a", 4)])
    with pytest.raises(SpecError) as caught:
        load(spec(path, group_by=("lang",)), CLASSES, seed=0)
    assert str(caught.value) == (
        f"{path}: --group-by names a column that does not exist\n"
        "  found: lang\n  expected: one of language"
    )
