"""Unlabelled pictures: all of a folder, less what is judged on and what is there already."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgetransfer.data import sources
from edgetransfer.data.unlabelled import fingerprint, load
from edgetransfer.errors import DataError
from edgetransfer.spec.recipe import DataSpec
from edgetransfer.tasks.classification.labels import CLASSES


def photo(path, seed, size=(40, 30)):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def labelled(tmp_path):
    """Seeds 0 to 5 are for training, 10 to 13 for validation, 20 to 23 for testing."""
    for split, first, count in (("train", 0, 6), ("val", 10, 4), ("test", 20, 4)):
        for i in range(count):
            photo(tmp_path / "data" / split / "ab"[i % 2] / f"{i}.png", first + i)
    return sources.load(DataSpec(source=str(tmp_path / "data")), CLASSES, seed=0)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "more"


def test_folders_have_any_names_and_say_nothing(labelled, folder):
    for place, seed in (("x.png", 30), ("test/y.jpg", 31), ("a/b/c/z.png", 32), (".h/n.png", 33)):
        photo(folder / place, seed)
    (folder / "notes.txt").write_text("no picture")
    told = []
    more = load(str(folder), labelled, progress=lambda *line: told.append(line))
    assert [e.key for e in more.examples] == ["a/b/c/z.png", "test/y.jpg", "x.png"]
    assert {(e.label, e.split) for e in more.examples} == {(None, "train")}
    assert (more.notes, more.dropped) == ((), {})
    assert told[-1] == (3, 3)
    assert type(more).from_json(more.to_json()) == more


def test_c3_pictures_that_are_not_read_are_said(labelled, folder):
    """Fault C3: ``.HEIC`` vanished here too, and a thumbnail of a NAS was taught with."""
    photo(folder / "x.png", 30)
    photo(folder / "@eaDir" / "x.png" / "THUMB.jpg", 31)
    (folder / "a").mkdir()
    (folder / "a" / "y.HEIC").write_bytes(b"")
    more = load(str(folder), labelled)
    assert [e.key for e in more.examples] == ["x.png"]
    assert more.notes == ("1 picture left out that cannot be read: 1 .heic",)


def test_what_is_judged_on_or_there_already_is_left_out(labelled, folder):
    photo(folder / "new.png", 30)
    photo(folder / "new again.png", 30)
    photo(folder / "of test.png", 20)
    photo(folder / "of validation.png", 10)
    photo(folder / "of train.png", 0)
    photo(folder / "small of test.png", 21, size=(32, 24))
    photo(folder / "small of validation.png", 11, size=(32, 24))
    photo(folder / "small of train.png", 1, size=(32, 24))
    compared = []

    def near(examples):
        compared.extend(e.key for e in examples)
        return {
            f"small of {split}.png": f"near-duplicate of a {split} example"
            for split in ("test", "validation")
        }

    more = load(str(folder), labelled, near=near)
    assert compared == [
        "new again.png", "small of test.png", "small of train.png", "small of validation.png"
    ]  # fmt: skip
    assert [e.key for e in more.examples] == ["new again.png", "small of train.png"]
    assert more.notes == (
        "6 of 8 unlabelled pictures were dropped: 1 duplicate of a test example, "
        "1 duplicate of a validation example, 1 duplicate of a train example, "
        "1 duplicate of another unlabelled picture, 1 near-duplicate of a test example, "
        "1 near-duplicate of a validation example",
    )


def test_nothing_left(labelled, folder):
    photo(folder / "only.png", 20)
    with pytest.raises(DataError) as caught:
        load(str(folder), labelled)
    assert str(caught.value) == (
        f"--unlabelled {folder}: no unlabelled picture is left\n"
        "  found: 1 of 1 unlabelled picture was dropped: 1 duplicate of a test example\n"
        "  fix: give other pictures, or leave --unlabelled out"
    )


def test_pictures_that_cannot_be_read_are_named(labelled, folder):
    photo(folder / "good.png", 30)
    (folder / "bad.png").write_bytes(b"nothing")
    with pytest.raises(DataError) as caught:
        load(str(folder), labelled)
    assert str(caught.value) == (
        f"{folder}: 1 problem in the data\n"
        "  - bad.png: the picture cannot be read, found: no picture in a known format, "
        "expected: a whole JPEG, PNG, BMP, GIF, WebP, TIFF, AVIF or PNM picture\n"
        "  fix: correct the data and start again"
    )


@pytest.mark.parametrize("read", [lambda at, _: fingerprint(at, "image"), load])
def test_no_folder(folder, labelled, read):
    with pytest.raises(DataError) as caught:
        read(str(folder), labelled)
    assert str(caught.value) == (
        f"--unlabelled {folder}: no such folder\n"
        "  expected: a folder of pictures; folders in it may have any names"
    )
    folder.mkdir()
    with pytest.raises(DataError) as caught:
        read(str(folder), labelled)
    assert str(caught.value) == f"--unlabelled {folder}: no picture in the folder"


def test_the_fingerprint_changes_with_names_and_contents(folder):
    photo(folder / "a.png", 1)
    seen = [fingerprint(str(folder), "image")]
    (folder / "a.png").rename(folder / "b.png")
    seen.append(fingerprint(str(folder), "image"))
    photo(folder / "b.png", 2)
    seen.append(fingerprint(str(folder), "image"))
    (folder / "notes.txt").write_text("of no consequence")
    assert fingerprint(str(folder), "image") == seen[-1]
    assert len(set(seen)) == 3
